"""An error with its causes as Python shows it, whatever the error's own code does.

No file is read for it unless the caller says how: a line of source is shown if it was read before, when it was the
code that runs.
"""

from __future__ import annotations

import linecache
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from taskhub.logs.escaping import attempt, class_name, clip, text_of
from taskhub.masking import masked

MAX_TRACEBACK_BYTES = 3500
_FRAMES = 12  # from each end of a stack
_CAUSES = 4
_MORE = 5
_TEXT_BYTES = 1500

_BECAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"


LineOf = Callable[[str, "int | None"], str]


def known_line(file: str, number: int | None) -> str:
    """A line of source that was read before; empty if it was not."""
    cached = linecache.cache.get(file, ())
    lines = cached[2] if len(cached) == 4 else []
    return lines[number - 1].strip() if number and 0 < number <= len(lines) else ""


def described(
    error: BaseException, limit: int = MAX_TRACEBACK_BYTES, line_of: LineOf = known_line, past: int = 0
) -> str:
    """The traceback, at most `limit` bytes of it; what is too much is left out of each error of the chain.

    past: so many frames are left out in the beginning, for they are the caller's own.
    """
    chain = [
        (masked(_one(one, line_of, 0 if between else past)).rstrip("\n"), between)
        for one, between in reversed(list(_chain(error)))
    ]
    room = limit - sum(len(between) + 1 for _, between in chain)
    parts = _in_shares([one for one, _ in chain], room)
    shown = [f"{part}\n{between}" if between else part for part, (_, between) in zip(parts, chain, strict=True)]
    return clip("".join(shown), limit)


def _in_shares(texts: Sequence[str], room: int) -> list[str]:
    """The texts in so many bytes together: what short ones leave is the long ones'."""
    clipped = list(texts)
    for done, number in enumerate(sorted(range(len(texts)), key=lambda number: len(texts[number]))):
        clipped[number] = clip(texts[number], room // (len(texts) - done))
        room -= len(clipped[number].encode("utf-8", "backslashreplace"))
    return clipped


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The error, then what it came from, each with the words that stand after it."""
    between, seen = "", set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen and len(seen) < _CAUSES:
        yield one, between
        seen.add(id(one))
        cause, is_silent = _of(one, "__cause__"), _of(one, "__suppress_context__")
        between = _BECAUSE if cause is not None else _MEANWHILE
        one = cause if cause is not None or is_silent else _of(one, "__context__")


def _one(error: BaseException, line_of: LineOf, past: int) -> str:
    stack = _of(error, "__traceback__")
    while past and stack is not None:
        stack, past = stack.tb_next, past - 1
    head = "Traceback (most recent call last):\n" + "".join(_frames(stack, line_of)) if stack is not None else ""
    kind = type(error)
    module = attempt(lambda: str(kind.__module__), lambda: "?")
    name = class_name(error) if module in ("builtins", "__main__") else f"{clip(module, 100)}.{class_name(error)}"
    text = text_of(error, _TEXT_BYTES)
    more: list[str] = attempt(lambda: list(_more(error)), lambda: [])
    return "\n".join([f"{head}{name}: {text}" if text else head + name, *more]) + "\n"


def _more(error: BaseException) -> Iterator[str]:
    """Its notes, and the errors that it groups."""
    for note in getattr(error, "__notes__", ())[:_MORE]:
        yield text_of(note, 200)
    for inner in getattr(error, "exceptions", ())[:_MORE]:
        yield f"  | {class_name(inner)}: {text_of(inner, 200)}"


def _frames(stack: TracebackType | None, line_of: LineOf) -> Iterator[str]:
    first: list[str] = []
    last: deque[str] = deque(maxlen=_FRAMES)
    count = 0
    while stack is not None:
        count += 1
        (first if len(first) < _FRAMES else last).append(_frame(stack, line_of))
        stack = stack.tb_next
    yield from first
    if count > 2 * _FRAMES:
        yield f"  [{count - 2 * _FRAMES} more]\n"
    yield from last


def _frame(at: TracebackType, line_of: LineOf) -> str:
    code, number = at.tb_frame.f_code, at.tb_lineno
    line = attempt(lambda: line_of(code.co_filename, number), lambda: "")
    source = f"    {clip(line, 200)}\n" if line else ""
    return f'  File "{clip(code.co_filename, 300)}", line {number}, in {clip(code.co_name, 100)}\n{source}'


def _of(error: BaseException, name: str) -> Any:
    """An attribute that every error has, past any that its class has put before it."""
    return getattr(BaseException, name).__get__(error)
