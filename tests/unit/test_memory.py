"""The shared memory of a worker, as one process of it after the other sees it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from supervisor import memory as m
from supervisor.memory import Memory, older_files
from taskhub import ids


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory.create(tmp_path, ids.new_token())


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
    assert bank.is_owed
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


def test_a_file_is_inherited_only_when_all_its_processes_are_gone(tmp_path: Path) -> None:
    read, write = os.pipe()
    owner = os.fork()
    if owner == 0:
        made = Memory.create(tmp_path, ids.new_token())
        made.bank(1, 5).begin(5)
        if os.fork() == 0:  # a child that outlives it and holds the lock, too
            os.close(write)
            os.read(read, 1)
        os._exit(0)
    os.close(read)
    os.waitpid(owner, 0)
    [path] = older_files(tmp_path, "mine")
    assert Memory.inherit(path) is None
    os.close(write)
    inherited = None
    while inherited is None:
        inherited = Memory.inherit(path)
    assert [(bank.slot, bank.generation) for bank in inherited.banks()] == [(1, 5)]
    assert Memory.inherit(path) is None, "one heir is enough"
    inherited.remove()
    assert older_files(tmp_path, "mine") == []


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(10_000_000)])
def test_a_file_that_is_no_memory_is_not_inherited(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"worker-{ids.new_token()}"
    path.write_bytes(content)
    assert Memory.inherit(path) is None


def test_a_sparse_file_takes_little_room(memory: Memory) -> None:
    for slot in range(8):
        memory.bank(slot, 1).begin(1)
    assert memory.path.stat().st_blocks * 512 < 1_000_000
