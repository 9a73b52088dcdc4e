"""Metrics shared by a group of processes: one set of files per slot, never per pid.

Invariants:
- The number of files is bounded by the number of slots; a slot's next process goes on counting where
  the last one was killed, so no counter ever goes backwards.
- At most one process uses an identity at a time: a slot is forked again only after its last process
  was reaped.
- A file that a kill has torn or left empty is removed by the next process of its slot.
- No file, folder or disk ends a process: what cannot be written is counted in memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from taskhub.metrics.counts_file import UNREADABLE as UNREADABLE
from taskhub.metrics.counts_file import CountsFile

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the client library reads it whenever it opens a file
_folder: Path | None = None
_identity = ""


def prepare(folder: Path, identity: str, *, wipe: bool) -> None:
    """Keep this process's metrics in `folder` as `identity`; call it before `definitions` is imported.

    wipe: begin with none; for the group's first process, before it forks, and not when it re-executes itself.
    """
    global _folder
    if wipe:
        shutil.rmtree(folder, ignore_errors=True)
    _folder = folder  # made with the first file in it
    os.environ[_FOLDER_VARIABLE] = str(folder)
    set_identity(identity)
    vars(values)["MmapedDict"] = CountsFile  # the library's own maps holes, which kills on a full disk
    # The library names this class as its own extension point; it has no setter for it.
    values.ValueClass = values.MultiProcessValue(process_identifier=_current_identity)  # type: ignore[no-untyped-call]


def leave() -> None:
    """Share nothing: for a process that inherits the folder and counts nothing. Before anything is counted."""
    os.environ.pop(_FOLDER_VARIABLE, None)
    values.ValueClass = values.MutexValue


def set_identity(identity: str) -> None:
    """Be another process of the group from now on: right after a fork, before anything is counted.

    identity: like `w0` or `sidecar`; no underscore, which the library's file names use.
    """
    global _identity
    if not identity or "_" in identity or "/" in identity:
        raise ValueError(f"metrics identity {identity!r}: use letters and digits")
    if _folder is not None:
        with contextlib.suppress(OSError):
            for file in _folder.glob(f"*_{identity}.db"):
                if not _is_readable(file):
                    file.unlink(missing_ok=True)
    _identity = identity


def folder() -> Path | None:
    """Where the group's files are; None in a process that shares its metrics with nobody."""
    return _folder


def _current_identity() -> str:
    return _identity


def _is_readable(file: Path) -> bool:
    try:
        for _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            pass
    except UNREADABLE:
        return False
    return True
