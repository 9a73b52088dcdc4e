"""Where an exception was raised, as its author would say it: the last frame that is the handler's own code.

Invariants:
- Nothing of the exception's class is believed or called, and no file is read.
- What is installed (the standard library, packages, taskhub) is not the handler's own, unless the handler itself is
  part of that package.
"""

from __future__ import annotations

import os
from types import TracebackType

from taskhub.domain import storable

_FRAMES = 100_000  # of a traceback that are walked; an ordinary one has no more than the recursion limit
_TRACEBACK = BaseException.__dict__["__traceback__"].__get__
_PACKAGES = ("/site-packages/", "/dist-packages/")
_STANDARD = os.path.dirname(os.__file__) + os.sep
_TASKHUB = os.path.dirname(os.path.dirname(__file__)) + os.sep


def raised_in(error: BaseException) -> str | None:
    """`file:line function`; None if nothing below the frame that caught it is known."""
    caught: TracebackType | None = _TRACEBACK(error)
    at = first = caught.tb_next if caught is not None else None
    if first is None:
        return None
    package, last = _package(first.tb_frame.f_code.co_filename), first
    for _ in range(_FRAMES):
        if at is None:
            break
        if _is_own(at.tb_frame.f_code.co_filename, package):
            last = at
        at = at.tb_next
    code = last.tb_frame.f_code
    return f"{storable.text(code.co_filename, 500)}:{last.tb_lineno} {storable.text(code.co_name, 200)}"


def _is_own(file: str, package: str) -> bool:
    """True for what the handler's author has written, as far as names of files tell."""
    if file.startswith(("<frozen ", _TASKHUB)):
        return False
    return _package(file) == package if _is_installed(file) else not file.startswith(_STANDARD)


def _is_installed(file: str) -> bool:
    return any(folder in file for folder in _PACKAGES)


def _package(file: str) -> str:
    """The folder or file of an installed package; empty for what is not installed."""
    for folder in _PACKAGES:
        before, found, after = file.rpartition(folder)
        if found:
            return before + found + after.split("/", 1)[0]
    return ""
