"""Rows of the real database, for arranging a state and looking at what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg2
import psycopg2.extras

from taskhub import ids
from taskhub.broker.broker import Broker
from taskhub.domain.job import DEFAULT_PRIORITY, DEFAULT_QUEUE, MAX_BATCH_BYTES
from taskhub.store.connection import Connection, Row
from taskhub.store.statements import statement
from tests.waiting import wait_for_value

Columns = dict[str, Any]

DUE: Columns = {"after_queue": "", "after_priority": -1, "places": 10, "amount": 100, "total": 1000}  # of due_jobs


class Child(NamedTuple):
    """A registered worker's open slot."""

    worker: str
    slot: int
    generation: int


def run(store: Connection, name: str, **arguments: Any) -> list[Row]:
    """Execute a named statement with its parameters by name; those left out are NULL or empty arrays."""
    chosen = statement(name)
    unknown = set(arguments) - set(chosen.parameters)
    assert not unknown, f"sql/{name}.sql has no parameter {unknown}"
    declared = chosen.prepare.partition("(")[2].partition(")")[0].split(", ")[: len(chosen.parameters)]
    values = []
    for parameter, kind in zip(chosen.parameters, declared, strict=True):
        value = arguments.get(parameter, [] if kind.endswith("[]") else None)
        values.append(_array(value) if isinstance(value, list) else value)
    return store.run(name, *values)


class Rows:
    """Plain SQL on a connection of its own, in autocommit."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url, cursor_factory=psycopg2.extras.RealDictCursor)
        self._connection.autocommit = True
        self.sql("SET taskhub.inserts = 'on'")  # rows as taskhub's own sessions insert them

    def sql(self, text: str, *arguments: Any) -> list[Columns]:
        """Execute `text`; returns its rows as dictionaries."""
        with self._connection.cursor() as cursor:
            cursor.execute(text, arguments or None)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def value(self, text: str, *arguments: Any) -> Any:
        """The one value that `text` selects."""
        [row] = self.sql(text, *arguments)
        [value] = row.values()
        return value

    def now(self) -> datetime:
        found: datetime = self.value("SELECT clock_timestamp()")
        return found

    def add(
        self,
        count: int = 1,
        *,
        queue: str = DEFAULT_QUEUE,
        priority: int = DEFAULT_PRIORITY,
        job_ids: Sequence[str] | None = None,
        **columns: Any,
    ) -> list[str]:
        """Insert queued jobs and return their ids; `columns` replace plain values, by SQL if they begin with `=`."""
        self.sql("SELECT taskhub_know_queue(%s, %s)", queue, priority)
        made = list(job_ids or ids.new_ids(count))
        values: Columns = {
            "created_at": "=clock_timestamp()",
            "updated_at": "=clock_timestamp()",
            "max_attempts": 5,
            "status": "queued",
            "type": "echo",
            "payload": '{"type":"echo"}',
            **columns,
        }
        shown = [value[1:] if _is_sql(value) else "%s" for value in values.values()]
        given = [value for value in values.values() if not _is_sql(value)]
        self.sql(
            f"INSERT INTO jobs (id, queue, priority, {', '.join(values)})"
            f" SELECT id, %s, %s, {', '.join(shown)} FROM unnest(%s::uuid[]) AS id",
            queue, priority, *given, made,
        )  # fmt: skip
        return made

    def one(self, **columns: Any) -> str:
        """Insert one job."""
        return self.add(1, **columns)[0]

    def job(self, job_id: str) -> Columns:
        """A job's row."""
        [row] = self.sql("SELECT * FROM jobs WHERE id = %s", job_id)
        return row

    def jobs(self, job_ids: Sequence[str]) -> list[Columns]:
        """Jobs' rows, in the order of the ids."""
        found = {row["id"]: row for row in self.sql("SELECT * FROM jobs WHERE id = ANY (%s::uuid[])", list(job_ids))}
        return [found[job_id] for job_id in job_ids]

    def statuses(self, job_ids: Sequence[str]) -> list[str]:
        return [row["status"] for row in self.jobs(job_ids)]

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each status."""
        return {row["status"]: row["n"] for row in self.sql("SELECT status, count(*) AS n FROM jobs GROUP BY status")}

    def wait_counts(self, wanted: dict[str, int], deadline_s: float) -> None:
        """Wait until there are just so many jobs of each status."""
        wait_for_value(self.counts, wanted, deadline_s, "the count of jobs by status", every_s=0.05)

    def set(self, job_id: str, **columns: Any) -> None:
        """Change a job's row behind taskhub's back."""
        pairs = ", ".join(f"{name} = {value[1:] if _is_sql(value) else '%s'}" for name, value in columns.items())
        given = [value for value in columns.values() if not _is_sql(value)]
        self.sql(f"UPDATE jobs SET {pairs} WHERE id = %s", *given, job_id)

    def errors(self, job_id: str) -> list[Columns]:
        """A job's history of failures."""
        return self.sql("SELECT * FROM job_errors WHERE job_id = %s ORDER BY seq", job_id)

    def slot(self, child: Child) -> Columns | None:
        """A slot's row, None if there is none."""
        found = self.sql("SELECT * FROM slots WHERE worker = %s AND slot = %s AND generation = %s", *child)
        return found[0] if found else None

    def close(self) -> None:
        self._connection.close()


def open_child(store: Connection, slot: int = 0, generation: int = 1, worker: str | None = None) -> Child:
    """A new worker (unless one is given) with an open slot."""
    owner = worker or ids.new_token()
    if worker is None:
        run(store, "register_worker", worker=owner, host="here", pid=1, version="test", queues=[])
    assert run(store, "open_slot", worker=owner, slot=slot, generation=generation, pid=2)
    return Child(owner, slot, generation)


def claim(
    store: Connection, child: Child, job_ids: list[str], *, queue: str = DEFAULT_QUEUE, lease: str | None = None
) -> tuple[str, list[list[Any]]]:
    """Claim jobs by id as a child does; `lease` is its last claim's. Returns the new lease and the rows claimed."""
    token = ids.new_token()
    [_, *claimed] = run(
        store,
        "settle_and_claim",
        **child._asdict(),
        queue=queue,
        claim=job_ids,
        claim_lease=token,
        lease=lease,
        most_bytes=MAX_BATCH_BYTES,
    )
    return token, [job for _, _, _, *job in claimed]


def submit(
    store: Connection,
    broker: Broker,
    type: str,
    count: int = 1,
    *,
    queue: str = DEFAULT_QUEUE,
    priority: int = DEFAULT_PRIORITY,
    **payload: Any,
) -> list[str]:
    """Commit jobs of one type and push them, as the API does; returns their ids."""
    made, text = ids.new_ids(count), json.dumps({"type": type, **payload})
    run(store, "ensure_queue", queue=queue, priority=priority)
    alike = {
        "queues": queue, "types": type, "priorities": priority, "payloads": text, "max_attempts": 5, "tags": "{}",
    }  # fmt: skip
    none = dict.fromkeys(("timeouts", "run_in", "unique_keys"))
    run(store, "insert_jobs", ids=made, **{name: [value] * count for name, value in {**alike, **none}.items()})
    broker.push(queue, priority, made)
    return made


def _is_sql(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("=")


def _array(items: list[Any]) -> str:
    """A PostgreSQL array literal."""
    shown = []
    for item in items:
        text = "true" if item is True else "false" if item is False else str(item)
        shown.append("NULL" if item is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(shown) + "}"
