"""Workers that cannot begin, and children that die before they have done anything."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from taskhub.broker.broker import Broker
from taskhub.store import migrations
from taskhub.store.connection import Connection
from tests.harness.fixtures import MakeWorker
from tests.harness.http import Answer
from tests.harness.rows import Rows
from tests.harness.seed_jobs import place
from tests.waiting import pause, wait_until


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (None, "ModuleNotFoundError"),
        ("import no_such_library\n", "no_such_library"),
        ("def broken(:\n", "SyntaxError"),
        ("raise SystemExit(0)\n", "SystemExit"),
        ("from taskhub import handler\n@handler('Not A Name')\ndef f(job): ...\n", "Not A Name"),
    ],
)
def test_an_import_error_at_boot_names_the_module_on_one_line_and_ends_the_worker(
    worker: MakeWorker, tmp_path: Path, code: str | None, told: str
) -> None:
    if code is not None:
        (tmp_path / "shop_handlers.py").write_text(code)
    running = worker(TASKHUB_HANDLERS="shop_handlers", PYTHONPATH=str(tmp_path))
    running.start()
    assert running.wait(15) == 1
    [failure] = running.events("handlers.failed")
    assert "shop_handlers" in failure["message"] or told == "Not A Name"
    assert told in failure["message"]
    assert "Traceback" not in running.log.read_text()
    assert not [path for path in (tmp_path / "worker-state").glob("**/*") if path.is_file()]


def test_a_hard_limit_of_memory_below_an_empty_child_is_named_and_ends_the_start(
    worker: MakeWorker, tmp_path: Path
) -> None:
    running = worker(TASKHUB_HARD_RSS_MB="10", TASKHUB_MAX_RSS_MB="5")
    running.start()
    assert running.wait(60) == 2
    told = [event["message"] for event in running.events("memory.limit_too_low")]
    assert [text.split("=")[0] for text in told] == ["TASKHUB_MAX_RSS_MB", "TASKHUB_HARD_RSS_MB"]
    assert not running.events("child.started")
    assert not [path for path in (tmp_path / "worker-state").glob("**/*") if path.is_file()]


@pytest.mark.slow
def test_children_that_die_at_boot_are_seen_in_probe_and_metrics_and_end_the_worker_after_five_deaths_each(
    worker: MakeWorker, rows: Rows
) -> None:
    running = worker(TASKHUB_FAILPOINTS="worker.boot=exit:7", TASKHUB_INTERNAL_BOOT_BACKOFF_S="0.3")
    running.start()

    def shows_backoff() -> bool:
        try:
            with running.http() as client:
                answer = client.get("/livez")
            return bool(
                answer.status == 503
                and answer.json["checks"]["children"]["in_backoff"] == 2
                and running.metrics().get("taskhub_slot_backoff") == 2
            )
        except OSError:
            return False

    wait_until(shows_backoff, 15, "probe and metrics tell of slots in backoff", every_s=0.02)
    assert running.wait(30) == 1
    assert [event["status"] for event in running.events("child.exited")] == ["exit 7"] * 10
    assert len(running.events("worker.hopeless")) == 1
    assert rows.value("SELECT count(*) FROM workers") == 0


def test_a_worker_whose_servers_come_up_later_waits_for_them_and_forks_each_child_once(
    worker: MakeWorker, rows: Rows, broker: Broker, pg_url: str, tmp_path: Path
) -> None:
    """The database is reached through a link that is not there at first."""
    [folder] = [part.partition("=")[2] for part in pg_url.split("?")[1].split("&") if part.startswith("host=")]
    link = Path("/tmp") / f"th-late-{tmp_path.name[-12:]}"
    late = pg_url.replace(folder, str(link).replace("/", "%2F"))
    made = place(rows, broker, "echo", count=5)
    running = worker(TASKHUB_DATABASE_URL=late)
    running.start()
    try:
        wait_until(lambda: len(running.events("child.started")) == 2, 10, "children are there")
        wait_until(lambda: running.events("maintenance.waits"), 10, "the absence is told")
        link.symlink_to(folder.replace("%2F", "/"))
        rows.wait_counts({"completed": 5}, 15)
        assert len(running.events("child.started")) == 2
        assert running.events("child.exited") == []
        assert running.stop() == 0
    finally:
        link.unlink(missing_ok=True)
    assert {row["attempts"] for row in rows.jobs(made)} == {1}


def test_settings_that_cannot_be_used_are_all_told_at_once(worker: MakeWorker) -> None:
    running = worker(TASKHUB_WORKER_PROCESSES="many", TASKHUB_DRAIN_S="-1")
    running.start()
    assert running.wait(10) == 2
    said = running.log.read_text()
    assert "TASKHUB_WORKER_PROCESSES" in said
    assert "TASKHUB_DRAIN_S" in said


def test_a_state_folder_that_cannot_be_written_is_named(worker: MakeWorker, tmp_path: Path) -> None:
    (tmp_path / "worker-state").write_text("a file, not a folder")
    running = worker()
    running.start()
    assert running.wait(10) == 2
    assert str(tmp_path / "worker-state") in running.log.read_text()


def test_a_reload_that_is_asked_for_while_the_worker_begins_does_not_end_it(worker: MakeWorker) -> None:
    def is_among(field: str) -> bool:
        status = Path(f"/proc/{running.pid}/status").read_text()
        return bool(int(status.partition(f"{field}:")[2].split()[0], 16) >> (signal.SIGHUP - 1) & 1)

    running = worker()
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # or `nohup` before the tests would hide what is tested
    try:
        running.start()
    finally:
        signal.signal(signal.SIGHUP, ours)
    try:
        wait_until(lambda: is_among("SigIgn"), 10, "it ignores the signal while it knows nothing yet")
        while not is_among("SigCgt"):
            running.signal(signal.SIGHUP)
            pause(0.002)
        running.wait_ready()
        assert running.stop() == 0
    finally:
        running.end()


def test_a_worker_is_not_ready_before_postgresql_knows_it(worker: MakeWorker, store: Connection) -> None:
    store.execute("BEGIN")
    store.execute("LOCK TABLE workers")
    running = worker()
    running.start()

    def checks() -> dict[str, object] | None:
        try:
            with running.http() as client:
                answer = client.get("/readyz")
        except OSError:
            return None
        return {"status": answer.status, **answer.json["checks"]}

    told = wait_until(checks, 15, f"it answers\n{running.tail()}")
    assert (told["status"], told["postgres"], told["registered"]) == (503, "ok", False)
    store.execute("COMMIT")
    running.wait_ready()


def test_a_worker_waits_with_one_line_for_whoever_migrates(
    worker: MakeWorker, empty_pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = migrations.available()
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "available", lambda: shipped[:1])
        migrations.migrate(empty_pg_url)
    running = worker(TASKHUB_DATABASE_URL=empty_pg_url)
    running.start()
    text = f"schema is at 1, this version needs {len(shipped)}: run `taskhub migrate`"
    wait_until(lambda: running.events("maintenance.waits"), 15, f"it says what it waits for\n{running.tail()}")

    def answer() -> Answer | None:
        try:
            with running.http() as client:
                return client.get("/readyz")
        except OSError:
            return None

    told = wait_until(answer, 15, "it answers")
    assert (told.status, text in told.text) == (503, True), told.text
    migrations.migrate(empty_pg_url)
    running.wait_ready()
    [waits] = running.events("maintenance.waits")
    assert text in waits["message"]
    assert running.stop() == 0
