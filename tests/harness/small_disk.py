"""A file system of a few megabytes, which a test may fill up. Only root can mount one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SIZE = "48m"
_PAGE = b"\0" * 4096


class SmallDisk:
    """A tmpfs at `folder`, from `mount` to `unmount`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        self._is_mounted = False

    @staticmethod
    def is_possible() -> bool:
        """True if this process may mount file systems."""
        return os.geteuid() == 0 and subprocess.run(["mount", "--version"], capture_output=True).returncode == 0

    def mount(self) -> None:
        self.folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(self.folder)], check=True)
        self._is_mounted = True

    def fill(self) -> None:
        """Take every free byte."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while file.write(_PAGE):
                    pass
            except OSError:
                return

    def free(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        if self._is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
