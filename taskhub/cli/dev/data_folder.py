"""The data folder of `taskhub dev`: private, and in use by one of them at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskhub.embedded.local_processes import EmbeddedError, private_folder

_MODE = 0o711  # others see nothing in it, but PostgreSQL may have to pass through as another user than root


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` while the block runs; the kernel gives it free when this process ends, however it ends."""
    private_folder(folder, mode=_MODE)
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedError(f"cannot write into the folder {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode().strip() or "unknown"
            raise EmbeddedError(f"taskhub dev already runs on {folder} (process {holder})") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
