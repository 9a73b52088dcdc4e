"""Notice when another package called `supervisor` (there is one on PyPI) stands before ours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import taskhub
from taskhub.domain.errors import TaskhubError

_THEIRS = "supervisord.py"


class ShadowedError(TaskhubError):
    """`import supervisor` does not give ours."""

    code = "shadowed"


def require_own_supervisor() -> None:
    """Raise ShadowedError unless `python -m supervisor`, run from here, is ours."""
    own = Path(taskhub.__file__).resolve().parent.parent / "supervisor"
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` will do
    try:
        importlib.invalidate_caches()
        spec = importlib.util.find_spec("supervisor")
    finally:
        sys.path.pop(0)
    found = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if found != own or (own / _THEIRS).exists():
        raise ShadowedError(
            f"`import supervisor` finds {found or 'nothing'}, not taskhub's own {own}: PyPI's package `supervisor` "
            "has the same import name, so give taskhub an environment (or a folder) without it"
        )
