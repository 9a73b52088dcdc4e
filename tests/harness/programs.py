"""Start and stop the real programs, each with a clean environment, its log in a file.

Invariants: a program never outlives the `with` block that it was started in, nor do its children; nothing
of the caller's environment reaches it but PATH.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from tests.harness.http import Http
from tests.harness.metrics import Samples
from tests.harness.processes import children_of, family_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
START_S = 20.0


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Program:
    """One started program."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str], folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.folder = ROOT  # where it runs
        self._argv = argv
        self._env = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "TASKHUB_ENV": "test", **env}
        self._process: subprocess.Popen[bytes] | None = None
        self._records: list[dict[str, Any]] = []  # of the log, as far as it was read
        self._read_bytes = 0

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        with self._output() as output:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
            )

    def _output(self) -> IO[bytes]:
        """What the program gets as its standard output and error."""
        return self.log.open("ab")

    def wait_ready(self) -> None:
        """Wait until `/readyz` says yes."""
        wait_until(self._is_ready, START_S, f"{self.name} is ready\n{self.tail()}", every_s=0.05)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, deadline_s: float) -> int:
        """Wait for the program's end; returns its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {deadline_s} s\n{self.tail()}") from None

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self, deadline_s: float = 35) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def kill(self) -> None:
        """SIGKILL to the program alone."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def children(self) -> list[int]:
        return children_of(self.pid)

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's records; only those of one event if it is named."""
        self._read_log()
        return [record for record in self._records if event in (None, record.get("event"))]

    def _read_log(self) -> None:
        """Go on where the last look has ended: a test looks again and again, and the log only grows."""
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            whole = log.read().rpartition(b"\n")[0]
        self._read_bytes += len(whole)
        for line in whole.splitlines():
            try:
                record = json.loads(line.decode(errors="replace"))
            except ValueError:
                continue
            if isinstance(record, dict):
                self._records.append(record)

    def tail(self) -> str:
        """The end of the log, for the message of a failed test."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else "(no log)"

    def http(self) -> Http:
        return Http(self.port)

    def metrics(self) -> Samples:
        with self.http() as client:
            answer = client.get("/metrics")
        assert answer.status == 200, answer.body
        return Samples(answer.text)

    def _environment(self) -> dict[str, str]:
        return self._env

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")
        try:
            with Http(self.port, timeout_s=5) as client:
                return client.get("/readyz").status == 200
        except OSError:
            return False

    def end(self) -> None:
        if self._process is None:
            return
        for pid in family_of(self.pid) if self._process.poll() is None else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.has_ended():
                self.signal(signal.SIGCONT)
                self.stop()
        finally:
            self.end()


class Api(Program):
    """`taskhub api`; each name has a state folder of its own."""

    def __init__(self, env: dict[str, str], folder: Path, name: str = "api") -> None:
        super().__init__(name, [sys.executable, "-m", "taskhub.cli.main", "api"], env, folder)
        self.state = folder / f"{name}-state"

    def _environment(self) -> dict[str, str]:
        own = {"TASKHUB_HTTP_PORT": str(self.port), "TASKHUB_STATE_DIR": str(self.state)}
        return {"TASKHUB_API_PROCESSES": "1", **self._env, **own}


class Worker(Program):
    """`python -m supervisor`; each name has a state folder of its own, as each host has."""

    def __init__(self, env: dict[str, str], folder: Path, name: str = "worker") -> None:
        super().__init__(name, [sys.executable, "-m", "supervisor"], env, folder)
        self.state = folder / f"{name}-state"

    def _environment(self) -> dict[str, str]:
        own = {"TASKHUB_METRICS_PORT": str(self.port), "TASKHUB_STATE_DIR": str(self.state)}
        return {"TASKHUB_WORKER_PROCESSES": "2", **self._env, **own}

    def wait_ready(self) -> None:
        """Wait until `/readyz` says yes, and every slot has had a child."""
        super().wait_ready()
        wanted = int(self._environment()["TASKHUB_WORKER_PROCESSES"] or 1)
        wait_until(
            lambda: len(self.events("child.started")) >= wanted, START_S, f"{self.name} has forked\n{self.tail()}"
        )

    def job_children(self) -> list[int]:
        """The pids of the children that run jobs: those that lead a slot, as the log says; not the sidecar."""
        told = {int(record["pid"]) for record in self.events("child.started") if "slot" in record and "pid" in record}
        return [pid for pid in self.children() if pid in told]

    def kill_child(self) -> int | None:
        """SIGKILL to one of the job children, at random; returns its pid, or None while there is none."""
        found = self.job_children()
        if not found:
            return None
        pid = random.choice(found)
        os.kill(pid, signal.SIGKILL)
        return pid
