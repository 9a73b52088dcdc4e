"""The shared memory of a worker, as one process of it after the other sees it."""

from __future__ import annotations

import os
import resource
import uuid
from pathlib import Path

import pytest

from supervisor.shared import layout as m
from supervisor.shared.file import Memory
from taskhub import ids
from tests.harness.forks import in_fork


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory.create(tmp_path, ids.new_token(), 8)


def test_what_one_process_writes_another_reads_though_the_first_was_killed(memory: Memory) -> None:
    task = ids.new_token()
    child = os.fork()
    if child == 0:
        bank = memory.bank(3, 1)
        bank.begin(1)
        bank.set_id(m.B_TASK, task)
        bank[m.B_PHASE] = m.PHASE_HANDLER
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    [bank] = memory.banks()
    assert (bank.slot, bank.generation, bank.get_id(m.B_TASK)) == (3, 1, task)
    assert bank.is_unconfirmed
    assert not bank.is_dead


def test_two_generations_of_a_slot_lie_side_by_side_and_the_third_takes_the_firsts_place(memory: Memory) -> None:
    for generation in (1, 2):
        bank = memory.bank(0, generation)
        bank.begin(generation)
        bank[m.B_DEATH] = generation
    assert sorted(bank.generation for bank in memory.banks()) == [1, 2]
    memory.bank(0, 3).begin(3)
    assert memory.bank(0, 1)[m.B_DEATH] == 0
    assert sorted(bank.generation for bank in memory.banks()) == [2, 3]


def test_an_id_that_was_never_set_is_none_and_can_be_unset(memory: Memory) -> None:
    bank = memory.bank(0, 1)
    assert bank.get_id(m.B_TOKEN) is None
    token = str(uuid.uuid4())
    bank.set_id(m.B_TOKEN, token)
    assert bank.get_id(m.B_TOKEN) == token
    bank.set_id(m.B_TOKEN, None)
    assert bank.get_id(m.B_TOKEN) is None


def test_the_room_of_every_slot_in_use_is_on_the_disk_before_it_is_used(tmp_path: Path) -> None:
    memory = Memory.create(tmp_path, ids.new_token(), 2)
    assert memory.path.stat().st_blocks * 512 >= m.needed_bytes(2)
    with pytest.raises(IndexError):
        memory.bank(2, 1)
    memory.allocate(5)
    assert memory.path.stat().st_blocks * 512 >= m.needed_bytes(5)
    memory.bank(4, 1).begin(1)
    memory.allocate(1)
    assert memory.allocated == 5


def test_a_folder_without_room_refuses_a_worker_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    def run_short() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (m.FILE_BYTES - 1, m.FILE_BYTES - 1))
        with pytest.raises(OSError, match="too large"):
            Memory.create(tmp_path, ids.new_token(), 1)

    assert in_fork(run_short) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_worker_takes_room_for_its_slots_only(memory: Memory) -> None:
    for slot in range(8):
        memory.bank(slot, 1).begin(1)
    assert memory.path.stat().st_blocks * 512 < m.needed_bytes(9)


def test_a_reexecuted_supervisor_finds_its_memory_also_when_the_folder_is_gone(memory: Memory) -> None:
    path = memory.path
    path.unlink()
    again = Memory.handed_over(os.dup(memory.descriptor))
    assert (again.path, again.worker) == (path, memory.worker)
