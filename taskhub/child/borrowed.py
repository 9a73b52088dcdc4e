"""The names of the language and its library that our own loop lives by; what a job replaces of them is put back.

Invariants:
- The look itself calls nothing that a job can have replaced: it uses no built-in function.
- Names that a job adds stay, and so does whatever was replaced before the child began.
"""

from __future__ import annotations

import builtins
import json
import select
import struct
import time
from typing import Any

_MODULES = (builtins, time, json, struct, select)
_TOLD = 5


class Borrowed:
    """One child's; made when its first job is still to come."""

    def __init__(self) -> None:
        self._names: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            (module.__name__, module.__dict__, dict(module.__dict__)) for module in _MODULES
        ]

    def put_back(self) -> list[str]:
        """Put back what was replaced or deleted; returns its names, a few of them."""
        changed: list[str] = []
        for module, names, found in self._names:
            if names != found:  # identity first, so of names that were left alone nothing is asked
                self._restore(module, names, found, changed)
        return changed

    def _restore(self, module: str, names: dict[str, Any], found: dict[str, Any], changed: list[str]) -> None:
        for name, value in found.items():
            if name not in names or names[name] is not value:
                names[name] = value
                changed.append(f"{module}.{name}")
        for name, value in names.copy().items():
            if name not in found:
                found[name] = value
        del changed[_TOLD:]
