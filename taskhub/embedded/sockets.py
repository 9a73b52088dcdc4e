"""Where a server's unix socket can live: in its folder, or in a short private one if that path is too long."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from taskhub.embedded.local_processes import EmbeddedError

MAX_PATH_BYTES = 107  # sockaddr_un.sun_path less its closing zero
_SEPARATORS = ",'\"\n"  # have a meaning in the servers' own settings or in connection strings


def socket_folder(folder: Path, longest_name: str) -> Path:
    """The folder for the sockets of the server in `folder`; the same one at every start."""
    inside = folder / "run"
    fits = len(os.fsencode(inside / longest_name)) <= MAX_PATH_BYTES
    if fits and not set(_SEPARATORS) & set(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    outside = Path(tempfile.gettempdir(), f"taskhub-{os.geteuid()}-{digest}")
    _refuse_foreign(outside)
    return outside


def _refuse_foreign(folder: Path) -> None:
    """A shared folder like /tmp could hold another user's trap under our name."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not folder.is_dir() or folder.is_symlink() or found.st_mode & 0o077:
        raise EmbeddedError(f"{folder} is not a private folder of ours: remove it")
