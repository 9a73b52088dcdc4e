"""Runs checks one after the other and prints a row for each as it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from containers.waiting import Failed

_NAME, _SECONDS = 44, 7


class Table:
    """`failed` names the checks that did not hold."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        print(f"{'what':{_NAME}} {'':6} {'s':>{_SECONDS}}  seen", flush=True)

    def row(self, name: str, check: Callable[[], str]) -> None:
        """Run one check: its text is what was seen; Failed, and any other trouble, is told and counted."""
        began = time.monotonic()
        try:
            verdict, seen = "ok", check()
        except Failed as error:
            verdict, seen = "FAILED", str(error)
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
            verdict, seen = "FAILED", f"{type(error).__name__}: {error}"
        if verdict != "ok":
            self.failed.append(name)
        print(f"{name:{_NAME}} {verdict:6} {time.monotonic() - began:{_SECONDS}.1f}  {seen}", flush=True)

    def exit(self) -> None:
        """End the program: 0 if every check held."""
        print(f"\n{len(self.failed)} failed: {', '.join(self.failed)}" if self.failed else "\nall held", flush=True)
        sys.exit(bool(self.failed))
