"""Somebody cuts or overwrites the state file of a living worker: it restarts, and charges no job."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from supervisor.shared import layout as m
from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeWorker
from tests.harness.ledger import Ledger
from tests.harness.processes import is_stopped
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place
from tests.waiting import wait_until


def zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(m.needed_bytes(2)))


def cut(at: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, at)


DAMAGES = {
    "emptied": cut(0),
    "cut within the last journal": cut(m.bank_offset(1, 1) + m.WORDS_BYTES + 4096),
    "overwritten": zeros,
}


@contextmanager
def turned(pid: int, *, only_if: threading.Event) -> Iterator[None]:
    """Have a supervisor go on that stops before each wait, where it touches nothing; not while `only_if` is clear."""
    is_over = threading.Event()

    def turn() -> None:
        while not is_over.wait(0.02):
            if only_if.is_set():
                with suppress(ProcessLookupError):  # it has ended
                    os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_worker_whose_state_file_is_damaged_restarts_and_charges_no_job(
    worker: MakeWorker, ledger: Ledger, rows: Rows, broker: Broker, damage: Callable[[Path], None]
) -> None:
    running = worker(**SOON, TASKHUB_FAILPOINTS="supervisor.wait=stop")
    goes_on = threading.Event()
    goes_on.set()
    running.start()
    with turned(running.pid, only_if=goes_on):
        running.wait_ready()
        jobs = place(rows, broker, "ledger.sleep", {"seconds": 1}, count=2)
        wait_until(lambda: ledger.starts() == 2, 15, "both children work")
        goes_on.clear()
        wait_until(lambda: is_stopped(running.pid), 5, "it stands still")
        [path] = running.state.glob(f"worker-{'?' * 36}")
        damage(path)
        goes_on.set()
        rows.wait_counts({"completed": 2}, 20)
        [event] = running.events("worker.begins_anew")
        assert "state file" in event["message"]
        assert running.events("worker.state_damaged"), "it is kept"
        assert running.stop() == 0
    assert {(row["crashes"], row["interruptions"], row["attempts"]) for row in rows.jobs(jobs)} == {(0, 1, 2)}
    assert ledger.executions() == Counter(jobs * 2)
