"""A dead worker's state file, damaged in every way: the next worker starts, its jobs run again, none is charged."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from supervisor.shared import layout as m
from taskhub.broker.broker import Broker
from taskhub.events.teller import Teller
from taskhub.maintenance.recoverer import Recoverer
from taskhub.maintenance.requeuer import PendingRequeues
from taskhub.store.connection import Connection
from tests.fault.conftest import *  # noqa: F403 (a stage, found by its name here)
from tests.harness.fixtures import *  # noqa: F403
from tests.harness.ledger import Ledger
from tests.harness.played_worker import PlayedWorker, isolation
from tests.harness.rows import Rows, submit
from tests.sweep.drawing import drawn, rng
from tests.waiting import wait_until

_BANK = m.bank_offset(0, 1)  # of the first generation of the first slot
_HEADER_BORDERS = [8 * word for word in range(m.H_BOOT_ID + 3)]
_BANK_BORDERS = [_BANK + 8 * word for word in range(m.B_HELPER_TICK + 2)]
_BORDERS = [*_HEADER_BORDERS, m.HEADER_BYTES, *_BANK_BORDERS, _BANK + 4096, _BANK + m.BANK_BYTES, m.FILE_BYTES]
_chance = rng("state files")

CUTS = sorted({border + by for border in _BORDERS for by in (-1, 0, 1)} - {-1, m.FILE_BYTES})
CUTS += _chance.sample(range(m.FILE_BYTES), 200)
FLIPS = [
    *(at * 8 + _chance.randrange(64) for at in (*_HEADER_BORDERS, *_BANK_BORDERS)),
    *((_BANK + 4096) * 8 + bit for bit in range(0, 8 * 60, 11)),  # the first entries of the journal
]
DAMAGES = [
    *(("cut", cut) for cut in CUTS),
    *(("flip", bit) for bit in FLIPS),
    *(("garbage", every) for every in (1, 2, 3, 8, 50)),
]


def damage(path: Path, kind: str, where: int) -> None:
    if kind == "cut":
        os.truncate(path, where)
        return
    with path.open("r+b") as file:
        content = bytearray(file.read(_BANK + m.BANK_BYTES))
        if kind == "flip":
            content[where // 8] ^= 1 << where % 8
        else:
            for word in range(0, len(content), 8 * where):
                content[word : word + 8] = _chance.randbytes(8)
        file.seek(0)
        file.write(content)


@pytest.mark.parametrize(("kind", "where"), drawn("state files", DAMAGES, 4))
def test_whatever_happened_to_the_file_its_jobs_run_again(
    stage: PlayedWorker, store: Connection, broker: Broker, rows: Rows, ledger: Ledger, kind: str, where: int
) -> None:
    dying = stage.child(internal_batch_budget_s=60)
    submit(store, broker, "ledger.echo", 3)
    rows.wait_counts({"completed": 3}, 10)
    dying.stop()
    finished = submit(store, broker, "ledger.echo", 2)
    [running] = submit(store, broker, "ledger.sleep", seconds=60)
    dying.go_on()
    wait_until(lambda: running in ledger.executions(), 10, "a job runs")
    os.kill(dying.pid, signal.SIGKILL)
    os.waitpid(dying.pid, 0)
    stage.forget(dying)
    successor = stage.successor()
    stage.lose()
    damage(stage.memory.path, kind, where)
    successor.step()
    assert not stage.memory.path.exists()
    Recoverer(store, stage.neighbour_link(), PendingRequeues(), Teller(), isolation()).step()
    assert rows.job(running)["status"] == "queued"
    assert {rows.job(job)["status"] for job in finished} <= {"queued", "completed"}
    assert max(rows.job(job)["crashes"] for job in [*finished, running]) <= (
        kind == "flip"
    )  # which may leave a sound record
