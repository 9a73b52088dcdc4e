"""What a job costs where many others lie in the table, queued before it and finished long ago."""

from __future__ import annotations

import cpu
import harness
from report import Figures

from taskhub import Producer
from taskhub.broker.broker import Broker
from taskhub.store.connection import Connection

_OURS = "bench"
_FILL_S = 3600
_QUEUE = "elsewhere"  # of what is submitted: no worker serves it
# Within the last hour, so that retention has nothing to do with them, the oldest first, as they would have come.
_FINISHED = """
INSERT INTO jobs (id, created_at, updated_at, started_at, finished_at, attempts, max_attempts, priority, status, queue,
    type, payload)
SELECT overlay(taskhub_id_floor(at)::text PLACING lpad(to_hex(n), 12, '0') FROM 25)::uuid, at, at, at, at, 1, 5, 4,
    'completed', 'default', 'bench.noop', '{"type":"bench.noop"}'
FROM (
    SELECT n, now() - interval '1 h' + n * (interval '50 min' / %s::int) AS at FROM generate_series(1, %s::int) AS n
) AS made
"""


class Backlog:
    """One side: a database with so many finished rows, and a queue that is never shorter than `queued` and a run."""

    def __init__(self, place: harness.Servers, side: harness.Side, children: int, rows: int) -> None:
        self._place, self._side, self._children, self._rows = place, side, children, rows
        self._store = Connection(side.database_url, application=_OURS, statement_s=_FILL_S)
        self._broker = Broker(side.redis_url, timeout_s=30)
        self._store.execute(_FINISHED, rows, rows)

    def run(self, jobs: int) -> Figures:
        """Drain so many of the queue, then submit so many more to another one."""
        self._refill(self._rows + 2 * jobs)
        return self._drained(jobs) | self._submitted(jobs)

    def _refill(self, queued: int) -> None:
        lacking = queued - self._depth()
        if lacking > 0:
            harness.push(self._broker, harness.preload(self._store, lacking, "bench.noop"))
        self._store.execute("VACUUM ANALYZE jobs")  # now, and not by itself in the middle of a run
        self._store.execute("CHECKPOINT")

    def _drained(self, jobs: int) -> Figures:
        with harness.worker(self._side, self._children) as process:
            consumers = {pid for (pid,) in self._store.execute("SELECT pid FROM slots WHERE NOT closed")}
            helpers = set(cpu.children_of(process.pid)) - consumers | {process.pid}

            def find() -> dict[int, str]:
                roles = dict.fromkeys(consumers, "children") | dict.fromkeys(helpers, "supervisor, sidecar")
                return roles | {self._place.redis_pid: "redis"} | self._sessions()

            meter = cpu.Meter(find)
            first = self._depth()
            harness.await_true(lambda: self._depth() < first, 60)  # the first batch has been taken
            first, wal = self._depth(), self._wal()
            meter.begin()
            harness.await_true(lambda: self._depth() <= first - jobs, 300, 0.1)
            used, done = meter.spent(), first - self._depth()
            used["all processes"] = sum(used.values())
            used["WAL bytes"] = (self._wal() - wal) / 1e6
        return {f"drain: {role}": value / done * 1e6 for role, value in sorted(used.items())}

    def _submitted(self, jobs: int) -> Figures:
        meter = cpu.Meter(self._sessions)
        with Producer(self._side.database_url, self._side.redis_url) as producer:
            producer.submit("bench.noop", queue=_QUEUE)
            meter.begin()
            producer.submit_many((("bench.noop", {}) for _ in range(jobs)), queue=_QUEUE)
            used = meter.spent()
        return {"submit: postgres: taskhub producer": used.get("postgres: taskhub producer", 0.0) / jobs * 1e6}

    def _depth(self) -> int:
        return self._broker.depths(["default"])["default"]

    def _sessions(self) -> dict[int, str]:
        found = cpu.backends(self._store.execute, self._place.postgres_pid)
        return {pid: role for pid, role in found.items() if role != f"postgres: {_OURS}"}

    def _wal(self) -> int:
        [(position,)] = self._store.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(position)
