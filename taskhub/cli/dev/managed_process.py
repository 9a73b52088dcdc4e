"""A program that `taskhub dev` runs: in a session of its own, with a mark by which it is found again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from taskhub import clock
from taskhub.cli.dev.stop_signals import StopSignals
from taskhub.embedded.local_processes import end_all, marked

MARK = "_TASKHUB_DEV"
END_ORPHANS_WITHIN_S = 10
STOP_NOW_WITHIN_S = 5
REAP_S = 0.05


class ManagedProcess:
    """One command, and whatever it forks; `owner` is the data folder that it belongs to."""

    def __init__(self, name: str, argv: list[str], owner: Path, stop_within_s: float) -> None:
        self.name = name
        self._argv = argv
        self._mark = f"{owner}:{name}"
        self._stop_within_s = stop_within_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The running program, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended: negative for a signal, None while it runs."""
        return self._process.poll() if self._process else None

    def start(self, environ: Mapping[str, str]) -> None:
        """Start it, after ending what an earlier one has left."""
        self.end_orphans()
        self._process = subprocess.Popen(  # noqa: S603
            self._argv,
            stdin=subprocess.DEVNULL,
            env={**environ, MARK: self._mark},
            start_new_session=True,
        )

    def stop(self, signals: StopSignals) -> None:
        """Ask it to drain and wait; a second interrupt, or its time being over, ends it now."""
        if self._process and self.pid:
            self._process.send_signal(signal.SIGTERM)
            deadline = clock.monotonic_s() + self._stop_within_s
            while self.pid and signals.count < 2 and clock.monotonic_s() < deadline:
                signals.wait(REAP_S)
            self._process.send_signal(signal.SIGQUIT)
            deadline = clock.monotonic_s() + STOP_NOW_WITHIN_S
            while self.pid and clock.monotonic_s() < deadline:
                signals.wait(REAP_S)
        self._end_leftovers(signal.SIGKILL, 0)

    def end_orphans(self) -> None:
        """End what an earlier run left running, without a drain: the rescue of its jobs is what taskhub does."""
        self._end_leftovers(signal.SIGQUIT, END_ORPHANS_WITHIN_S)

    def _end_leftovers(self, number: signal.Signals, within_s: float) -> None:
        end_all(lambda: marked(f"{MARK}={self._mark}"), number, within_s)
