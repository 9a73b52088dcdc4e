"""What a child could not settle with its batch is settled apart, and told as all else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from taskhub import clock, ids, logs
from taskhub.broker.broker import Broker
from taskhub.child.batch import Batch
from taskhub.child.settling import Settler
from taskhub.domain.job import ClaimedJob
from taskhub.domain.outcome import Completed
from taskhub.events.teller import Teller
from taskhub.logs import loggers
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.rows import Rows, claim, open_child


@pytest.fixture
def settler(pg_url: str, broker: Broker) -> Settler:
    return Settler(Batch(), Connection(pg_url, lock_s=0.1), broker, Teller())


def test_what_a_lock_kept_from_being_settled_is_settled_and_told_once_after_its_batch(
    settler: Settler, store: Connection, rows: Rows, pg_url: str, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    job, now_s = rows.one(), clock.boottime_s()
    lease, _ = claim(store, open_child(store), [job])
    settler.batch.take_over("default", lease, [ClaimedJob(job, "echo", 1, 5, 0, 0, None, "{}")])
    settler.batch.pending.clear()
    log = tmp_path / "log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    logs.configure(settings(), descriptor)
    other = Rows(pg_url)
    try:
        other.sql("BEGIN")
        other.sql("SELECT FROM jobs WHERE id = %s FOR UPDATE", job)
        settler.settled_by(0, [Completed(job, "1", now_s, now_s)])  # a claim has found it locked
        settler.batch.take_over("default", ids.new_token(), [])
        other.sql("COMMIT")
        for _ in range(2):
            settler.settle_others()
    finally:
        other.close()
        loggers.use(None)
        os.close(descriptor)
    assert rows.statuses([job]) == ["completed"]
    told = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "job.completed"]
    assert [(line["job_id"], line["type"], line["queue"]) for line in told] == [(job, "echo", "default")]
