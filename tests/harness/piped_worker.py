"""A worker whose output goes through a pipe to a reader, as in a container, which a test can make stand still."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import IO

from tests.harness.programs import Worker

_STEP = 65_536


class PipedWorker(Worker):
    """Its log file is written by the pipe's reader. `log_folder` is where that file is, if not beside the state."""

    def __init__(self, env: dict[str, str], folder: Path, name: str, *, log_folder: Path) -> None:
        super().__init__(env, folder, name)
        self.log = log_folder / f"{name}.log"
        self._reads = threading.Event()
        self._reads.set()

    def _output(self) -> IO[bytes]:
        read, write = os.pipe()
        threading.Thread(target=self._copy, args=(read,), daemon=True).start()
        return os.fdopen(write, "wb")

    def stall(self) -> None:
        """Nobody reads any more: the pipe fills up."""
        self._reads.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reads.set()

    def _copy(self, read: int) -> None:
        with os.fdopen(read, "rb", buffering=0) as pipe, self.log.open("ab", buffering=0) as log:
            while data := pipe.read(_STEP):
                log.write(data)
                self._reads.wait()
