"""What a side runs: workers, and the process that submits. Each is known by its pid, and ends with the driver."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cpu

_STOP_S = 20
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _end_with_the_driver() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_on_sigterm() -> None:
    """End as after Ctrl-C, with everything cleared away; once: a second signal does not break the clearing off."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


class Workers:
    """The processes that run one side's jobs, with all their descendants."""

    def __init__(self, commands: list[list[str]], environment: dict[str, str], cwd: Path, log: Path) -> None:
        self._mark = f"BENCH_FOLDER={environment['BENCH_FOLDER']}\0".encode()
        with log.open("ab") as output:
            self._roots = [
                subprocess.Popen(
                    command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    preexec_fn=_end_with_the_driver,  # noqa: PLW1509 (the driver has one thread)
                )
                for command in commands
            ]  # fmt: skip

    def pids(self) -> list[int]:
        found = [root.pid for root in self._roots]
        for pid in found:  # grows on the way
            found += cpu.children_of(pid)
        return found

    def pss_mib(self) -> float:
        """Proportional set size of all: pages that are shared count once."""
        return sum(map(_pss_kib, self.pids())) / 1024

    def check(self) -> None:
        """Raise if one has ended by itself."""
        for root in self._roots:
            if root.poll() is not None:
                raise RuntimeError(f"a worker ended with {root.returncode}")

    def stop(self) -> None:
        """SIGTERM to each; whoever of them and theirs is left after 20 s is killed."""
        known = self.pids()
        for root in self._roots:
            root.send_signal(signal.SIGTERM)
        until = time.monotonic() + _STOP_S
        for root in self._roots:
            with contextlib.suppress(subprocess.TimeoutExpired):
                root.wait(max(0.1, until - time.monotonic()))
        for pid in known:
            if self._is_ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for root in self._roots:
            root.wait(_STOP_S)

    def _is_ours(self, pid: int) -> bool:
        """A number may be a stranger's by now."""
        try:
            return self._mark in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
        except OSError:
            return False


@contextlib.contextmanager
def running(*arguments: Any) -> Iterator[Workers]:
    workers = Workers(*arguments)
    try:
        yield workers
    finally:
        workers.stop()


class Submitter:
    """The process that submits, as a function: `ask("singles", 100, 10.0)`."""

    def __init__(self, command: list[str], environment: dict[str, str], cwd: Path, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                preexec_fn=_end_with_the_driver,  # noqa: PLW1509 (the driver has one thread)
            )  # fmt: skip

    def ask(self, *order: Any, within_s: float = 120) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self.answer(within_s)

    def answer(self, within_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], within_s)[0]:
            raise TimeoutError(f"no answer within {within_s} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the submitting process ended with {self._process.wait(10)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
