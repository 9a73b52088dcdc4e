"""One run of one side: submit, drain, look at its memory, time it from submit to start."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import environments
import harness
import processes
from job_marks import RAN, RECORD, STARTED
from sides import OURS, Peer

HERE = Path(__file__).resolve().parent
Figures = dict[str, float]

_BEGIN_S = 60  # for a worker's start to its first job
_IDLE_S = 2.0
_WARM_UP = 20


class Plan(NamedTuple):
    """How much is done in a run."""

    jobs: int
    submit_s: float
    drain_s: float
    rate: float
    latency_s: float


class Run:
    """A side in its place: environment, folder, processes."""

    def __init__(self, peer: Peer, side: harness.Side, plan: Plan) -> None:
        self.peer, self._side, self._plan = peer, side, plan
        self._ran, self._started = side.folder / RAN, side.folder / STARTED
        self._log = side.folder / "processes.log"
        self._python = sys.executable if peer.package == OURS else str(environments.PYTHON)
        self._cwd = side.checkout if peer.package == OURS else side.folder
        self._environment = environment(peer, side)
        self.version = ""

    def measure(self) -> Figures:
        """All figures of one round."""
        for file in (self._ran, self._started):
            file.write_bytes(b"")
        command = [self._python, str(HERE / "submitting.py"), self.peer.module, self.peer.variant]
        submitter = processes.Submitter(command, self._environment, self._cwd, self._log)
        try:
            hello = submitter.answer(60)
            self.version = hello["version"]
            figures, queued = self._submit(submitter, hello["has_many"])
            arguments = (hello["commands"], self._environment, self._cwd, self._log)
            with processes.running(*arguments) as workers:
                rate, is_drained = self._drain(submitter, workers, queued)
                if is_drained:
                    return figures | {"drain/s": rate} | self._at_rest(submitter, workers)
            submitter.ask("purge")
            with processes.running(*arguments) as workers:
                return figures | {"drain/s": rate, "cut": 1} | self._at_rest(submitter, workers)
        finally:
            submitter.close()

    def tail(self) -> str:
        """The end of what the side's processes printed."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""

    def _submit(self, submitter: processes.Submitter, has_many: bool) -> tuple[Figures, int]:
        """Up to half of the jobs one by one, the others by the call for many, or one by one as well."""
        jobs, limit = self._plan.jobs, self._plan.submit_s
        singles = submitter.ask("singles", jobs // 2, limit, within_s=limit + 60)
        figures = {"submit/s": singles["jobs"] / singles["seconds"]}
        rest = jobs - singles["jobs"]
        if not has_many:
            return figures, singles["jobs"] + submitter.ask("singles", rest, 5 * limit, within_s=6 * limit + 60)["jobs"]
        many = submitter.ask("many", rest, within_s=5 * limit + 60)
        return figures | {"many/s": many["jobs"] / many["seconds"]}, jobs

    def _drain(self, submitter: processes.Submitter, workers: processes.Workers, jobs: int) -> tuple[float, bool]:
        """Jobs a second from the moment that a tenth has run (all processes are at work then) to the last outcome."""
        until = time.monotonic() + _BEGIN_S
        while self._count() < jobs // 10 and time.monotonic() < until + self._plan.drain_s:
            workers.check()
            if not self._count() and time.monotonic() > until:
                raise TimeoutError(f"no job ran within {_BEGIN_S} s")
            time.sleep(0.002)
        first, begin = self._count(), time.monotonic()
        until = begin + self._plan.drain_s
        while self._count() < jobs:
            if time.monotonic() > until:
                return (self._count() - first) / (time.monotonic() - begin), False
            time.sleep(0.002)
        harness.await_true(lambda: not submitter.ask("unsettled")["jobs"], 30, 0.005)
        return (jobs - first) / (time.monotonic() - begin), True

    def _at_rest(self, submitter: processes.Submitter, workers: processes.Workers) -> Figures:
        """Memory when idle, then the time from submit to start at a steady rate."""
        ran = self._count()
        submitter.ask("singles", _WARM_UP, 10.0)
        harness.await_true(lambda: self._count() >= ran + _WARM_UP, _BEGIN_S)
        time.sleep(_IDLE_S)
        figures = {"MiB": workers.pss_mib()}
        meant = submitter.ask("steady", self._plan.rate, self._plan.latency_s, within_s=3 * self._plan.latency_s + 60)
        count = len(meant["meant"])
        harness.await_true(lambda: len(set(self._starts())) >= count, 60, 0.1)
        waits = sorted((at - meant["meant"][number]) * 1000 for number, at in self._starts().items())
        return figures | {"p50 ms": statistics.median(waits), "p99 ms": waits[int(count * 0.99)]}

    def _count(self) -> int:
        return self._ran.stat().st_size

    def _starts(self) -> dict[int, float]:
        """When each job started first."""
        data = self._started.read_bytes()
        records = RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size])
        return dict(reversed([*records]))


@contextmanager
def places(peers: list[Peer], plan: Plan) -> Iterator[list[Run]]:
    """A Redis of its own number for each side, a database where it needs one, on the same two servers."""
    with harness.servers() as place:
        runs = []
        for number, peer in enumerate(peers, 1):
            if peer.package == OURS:
                side = harness.side(place, number)
            else:
                side = harness.bare_side(place, number, has_database=peer.needs_database)
            runs.append(Run(peer, side, plan))
        yield runs


def environment(peer: Peer, side: harness.Side) -> dict[str, str]:
    """What the side's processes are started with."""
    given = {
        "BENCH_FOLDER": str(side.folder),
        "BENCH_REDIS_URL": side.redis_url,
        "BENCH_DATABASE_URL": side.database_url,
        "BENCH_VARIANT": peer.variant,
    }
    if peer.package == OURS:
        ours = side.environment()
        search = {"PYTHONPATH": f"{HERE}:{ours['PYTHONPATH']}", "TASKHUB_HANDLERS": peer.module}
        return ours | given | search | {"TASKHUB_WORKER_PROCESSES": "2"}
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("TASKHUB_", "VIRTUAL_ENV"))}
    return rest | given | {"PYTHONPATH": str(HERE)}
