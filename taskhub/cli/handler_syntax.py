"""Do the modules with handlers read as Python? Asked before anything starts, and without importing anything."""

from __future__ import annotations

import importlib.machinery
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from taskhub.domain.errors import TaskhubError


class HandlersError(TaskhubError):
    """A module with handlers cannot be used; the text may have several lines."""

    code = "handlers"


def require_syntax(modules: Iterable[str]) -> None:
    """Raise HandlersError, with line and caret, for the first module that is not Python; one not found is not told."""
    for module in modules:
        spec = _found(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        try:
            compile(Path(spec.origin).read_bytes(), spec.origin, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            shown = "".join(traceback.format_exception_only(type(error), error)).rstrip()
            raise HandlersError(f"handler module {module!r} (TASKHUB_HANDLERS) is not Python:\n{shown}") from None
        except OSError:
            continue


def _found(module: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module would come from, without importing its packages."""
    path: list[str] | None = [os.getcwd(), *sys.path]  # the working directory is importable, as for `python -m`
    spec = None
    for number, _ in enumerate(parts := module.split("."), 1):
        if path is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:number]), path)
        path = list(spec.submodule_search_locations) if spec and spec.submodule_search_locations else None
    return spec
