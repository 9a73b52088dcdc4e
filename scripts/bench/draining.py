"""One drain: preload jobs, push them, wait until all are completed; what each process used on the way, per job."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import cpu
import harness
import redis
from sample_text import sample_text

from taskhub import ids
from taskhub.broker.broker import Broker
from taskhub.store.connection import Connection

Figures = dict[str, float]  # per job; CPU in microseconds

_RATE = """
SELECT count(*), extract(epoch FROM max(updated_at) - %s::timestamptz)::float8
FROM jobs WHERE id >= %s::uuid AND id <= %s::uuid AND status = 'completed'
"""
_HOT = "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"
_CHILD_SESSIONS = ("postgres: taskhub child", "postgres: bare loop")
_OURS = "bench"


class Drain:
    """Drains of one side: of jobs that do nothing or, with `text_bytes`, return the text of that size in them."""

    def __init__(self, place: harness.Servers, side: harness.Side, children: int, text_bytes: int = 0) -> None:
        self._place, self._side, self._children, self._text_bytes = place, side, children, text_bytes
        self._store = Connection(side.database_url, application=_OURS, statement_s=60)
        self._broker = Broker(side.redis_url, timeout_s=10)
        self._redis = redis.Redis.from_url(side.redis_url)

    def shipped(self, jobs: int) -> Figures:
        """By a worker as shipped."""
        with harness.worker(self._side, self._children) as process:
            consumers = {pid for (pid,) in self._store.execute("SELECT pid FROM slots WHERE NOT closed")}

            def find() -> dict[int, str]:
                helpers = set(cpu.children_of(process.pid)) - consumers
                return dict.fromkeys(consumers, "children") | dict.fromkeys(
                    {process.pid, *helpers}, "supervisor, sidecar"
                )

            return self._measure(jobs, find)

    def bare(self, jobs: int) -> Figures:
        """By the bare loop."""
        worker = ids.new_token()
        self._store.run("register_worker", worker, "bare", 1, "0", "{default}")
        command = [sys.executable, str(harness.HERE / "bare_loop.py"), worker]
        size = str(self._text_bytes)
        loops = [
            subprocess.Popen([*command, str(n), str(self._children), size], env=os.environ | self._side.environment())
            for n in range(self._children)
        ]
        mine = "SELECT FROM slots WHERE worker = %s"
        harness.await_true(lambda: len(self._store.execute(mine, worker)) == self._children, 20)
        figures = self._measure(jobs, lambda: {loop.pid: "children" for loop in loops})
        for loop in loops:
            loop.wait(60)
        self._store.execute("DELETE FROM slots WHERE worker = %s", worker)
        self._store.execute("DELETE FROM workers WHERE id = %s", worker)
        return figures

    def hot_share(self) -> float:
        self._store.execute("SELECT pg_stat_force_next_flush()")
        [(hot, updates)] = self._store.execute(_HOT)
        return float(hot / max(1, updates))

    def _measure(self, jobs: int, find: Callable[[], dict[int, str]]) -> Figures:
        # Pages that come into being after a checkpoint are not written whole at their first change: WAL is comparable.
        self._store.execute("CHECKPOINT", timeout_s=60)
        job_ids = self._preload(jobs)
        meter = cpu.Meter(lambda: find() | {self._place.redis_pid: "redis"} | self._backends())
        arguments = self._now()
        wal, commands = self._wal(), self._commands()
        meter.begin()
        harness.push(self._broker, job_ids)
        # Redis is asked first: a long look at the table holds back the cleaning of its pages.
        harness.await_true(lambda: self._look(meter) and self._broker.depths(["default"]) == {"default": 0}, 120, 0.1)
        span = (arguments, job_ids[0], job_ids[-1])
        harness.await_true(lambda: self._look(meter) and self._store.execute(_RATE, *span)[0][0] == jobs, 120, 0.1)
        figures = _per_job(meter.spent(), jobs)
        figures["WAL bytes"] = (self._wal() - wal) / jobs
        figures["Redis commands"] = (self._commands() - commands) / jobs
        [(_, seconds)] = self._store.execute(_RATE, *span)
        return figures | {"jobs/s": jobs / seconds}

    def _preload(self, jobs: int) -> list[str]:
        if self._text_bytes:
            return harness.preload(self._store, jobs, "bench.echo", sample_text(self._text_bytes))
        return harness.preload(self._store, jobs, "bench.noop")

    def _look(self, meter: cpu.Meter) -> bool:
        meter.look()
        return True

    def _backends(self) -> dict[int, str]:
        found = cpu.backends(self._store.execute, self._place.postgres_pid)
        return {pid: role for pid, role in found.items() if role != f"postgres: {_OURS}"}

    def _now(self) -> str:
        [(now,)] = self._store.execute("SELECT clock_timestamp()::text")
        return str(now)

    def _wal(self) -> int:
        [(position,)] = self._store.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(position)

    def _commands(self) -> int:
        return int(self._redis.info("stats")["total_commands_processed"])


def _per_job(seconds: dict[str, float], jobs: int) -> Figures:
    """Microseconds of CPU per job by role, with the sums that are compared."""
    used = {role: value / jobs * 1e6 for role, value in seconds.items()}
    postgres = {role: value for role, value in used.items() if role.startswith("postgres: ")}
    sums = {
        "children": used.get("children", 0.0),
        "postgres": sum(postgres.values()),
        "children + postgres": used.get("children", 0.0) + sum(postgres.values()),
        "children + their sessions": used.get("children", 0.0)
        + sum(postgres.get(role, 0.0) for role in _CHILD_SESSIONS),
    }
    return sums | {role: value for role, value in sorted(used.items()) if role not in sums}
