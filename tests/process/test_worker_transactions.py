"""`job.transaction()`: the handler's rows and the job's completion happen together or not at all."""

from __future__ import annotations

from collections import Counter

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.programs import Worker
from tests.harness.proxy import Proxy
from tests.harness.rows import Rows
from tests.harness.seed_jobs import HANDLERS, SOON, place
from tests.harness.servers import Postgres
from tests.waiting import wait_for_value, wait_until

QUICK = {**SOON, **HANDLERS}


@pytest.fixture(autouse=True)
def _effects(rows: Rows) -> None:
    rows.sql("CREATE TABLE effects (job uuid NOT NULL, attempt int NOT NULL)")


def effects(rows: Rows) -> Counter[str]:
    return Counter(row["job"] for row in rows.sql("SELECT job FROM effects"))


@pytest.mark.slow
def test_the_handlers_rows_are_there_exactly_once(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    """Whether nothing fails, the handler does inside its transaction and is run again, or after its completion."""
    made: list[str] = []
    retried = 0
    with worker(**QUICK) as running:
        for fails, executions in ((None, 1), ("inside", 2), ("after", 1)):
            these = place(rows, broker, "misbehaving_handlers.insert", {"fails": fails}, count=20)
            made += these
            retried += 20 * (executions - 1)
            rows.wait_counts({"completed": len(made)}, 20)
            wait_for_value(lambda: processed(running, "completed"), len(made), 5, "jobs that are counted as completed")
            assert processed(running, "retried") == retried, fails
            assert running.metrics().total("taskhub_stale_writes_total") == 0, fails
            counted = ledger.executions()
            assert {counted[job] for job in these} == {executions}, fails
    assert effects(rows) == Counter(made)
    assert set(ledger.executions()) == set(made)


def processed(running: Worker, outcome: str) -> float:
    return running.metrics().total("jobs_processed_total", outcome=outcome)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["worker.before_commit=kill*1", "worker.after_handler=kill*1"])
def test_a_child_killed_before_or_after_the_commit_leaves_the_rows_exactly_once(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, point: str
) -> None:
    """Each child dies once at the point, so a job may meet it at most as often as there are crashes left."""
    with worker(**QUICK, TASKHUB_WORKER_PROCESSES="1", TASKHUB_FAILPOINTS=point) as running:
        [job] = place(rows, broker, "misbehaving_handlers.insert")
        if "after" in point:
            rows.wait_counts({"completed": 1}, 15)
            wait_until(lambda: running.events("child.exited"), 10, "the child has died after the commit")
        else:
            rows.wait_counts({"failed": 1}, 20)
    assert effects(rows) == (Counter([job]) if "after" in point else Counter())
    assert ledger.executions()[job] == (1 if "after" in point else 3)


@pytest.mark.slow
def test_a6_a_session_killed_in_the_transaction_rolls_back_and_the_job_runs_again(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK):
        [job] = place(rows, broker, "misbehaving_handlers.insert", {"seconds": 1})
        wait_until(lambda: ledger.starts() == 1, 10, "it runs")
        kill = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle in transaction'"
            " AND query LIKE 'INSERT INTO effects%'"
        )
        wait_until(lambda: rows.value(kill), 5, "its session is killed in the midst", every_s=0.02)
        rows.wait_counts({"completed": 1}, 15)
    assert effects(rows) == Counter([job])
    assert ledger.executions()[job] == 2
    assert len(rows.errors(job)) == 1


@pytest.mark.slow
def test_a3_a_commit_whose_answer_is_lost_counts_once(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, pg_url: str, postgres: Postgres
) -> None:
    """The network swallows what PostgreSQL says to COMMIT, and the connection with it."""
    with Proxy(str(postgres.folder / ".s.PGSQL.5432")) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{pg_url.partition('@/')[2].partition('?')[0]}"
        with worker(**QUICK, TASKHUB_DATABASE_URL=url):
            lost = proxy.lose_answer(b"COMMIT")
            [job] = place(rows, broker, "misbehaving_handlers.insert")
            lost.wait()
            rows.wait_counts({"completed": 1}, 15)
    assert effects(rows) == Counter([job])
    assert ledger.executions()[job] == 1
    assert rows.errors(job) == []


@pytest.mark.slow
def test_a_transaction_of_a_job_that_was_taken_over_is_refused_and_its_rows_are_not_there(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker
) -> None:
    with worker(**QUICK) as running:
        [job] = place(rows, broker, "misbehaving_handlers.insert", {"seconds": 1})
        wait_until(lambda: ledger.starts() == 1, 10, "it runs")
        rows.set(job, status="queued", lease=None, run_at="=clock_timestamp() + interval '1 hour'")  # as a rescue does
        wait_until(lambda: running.events("job.stale"), 10, "the settlement is refused")
        assert effects(rows) == Counter()
        assert rows.job(job)["status"] == "queued"
        wait_until(lambda: running.metrics().get("taskhub_stale_writes_total") == 1, 5, "that is counted")
