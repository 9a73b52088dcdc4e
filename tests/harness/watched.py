"""A handler module that watches the processes forked after it: what of the installation they open or import."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

VARIABLE = "WATCHED_FILE"

_ROOT = Path(__file__).parents[2]
_FOLDERS = [*(_ROOT / name for name in ("taskhub", "supervisor", "db")), Path(sysconfig.get_path("stdlib"))]
_INSTALLED = tuple(f"{folder}/" for folder in (*_FOLDERS, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))


def _watch() -> None:
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" or (event == "open" and str(arguments[0]).startswith(_INSTALLED)):
            stack = traceback.StackSummary.extract(traceback.walk_stack(None), lookup_lines=False, limit=12)
            by = " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in stack)
            if "source_lines.py:" not in by:  # what a traceback shows, if it is there: nothing depends on it
                os.write(file, f"{event} {arguments[0]} by {by}\n".encode())

    sys.addaudithook(hook)


if VARIABLE in os.environ:
    os.register_at_fork(after_in_child=_watch)
