"""A state folder that several workers share, as the containers of one host do."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from supervisor import memory as m
from supervisor.memory import Memory
from supervisor.watch import SidecarWatch


@pytest.fixture
def heir(tmp_path: Path) -> SidecarWatch:
    """The sidecar of a living worker."""
    return SidecarWatch(Memory.create(tmp_path, str(uuid.uuid4())), os.pipe()[0])


def leave_behind(folder: Path) -> Path:
    """The file of a worker that is dead: used, and its lock free."""
    dead = Memory.create(folder, str(uuid.uuid4()))
    dead.bank(0, 1).begin(1)
    dead.scratch.mkdir()
    dead.release()
    return dead.path


def test_a_living_neighbour_is_nobodys_inheritance(tmp_path: Path, heir: SidecarWatch) -> None:
    neighbour = Memory.create(tmp_path, str(uuid.uuid4()))
    assert list(heir.older()) == []
    assert neighbour.path.exists()


def test_a_file_appears_under_its_name_only_once_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    lock = m.fcntl.flock

    def watching(descriptor: int, operation: int) -> None:
        seen.append([path.name for path in m.older_files(tmp_path, "somebody-else")])
        lock(descriptor, operation)

    monkeypatch.setattr(m.fcntl, "flock", watching)
    Memory.create(tmp_path, str(uuid.uuid4()))
    assert seen == [[]]


def test_the_dead_are_inherited_with_what_they_left(tmp_path: Path, heir: SidecarWatch) -> None:
    path = leave_behind(tmp_path)
    [(worker, generations)] = [(r.worker, [record.generation for record in r.all()]) for r in heir.older()]
    assert f"worker-{worker}" == path.name
    assert generations == [1]


def test_an_inheritance_that_failed_half_way_can_be_taken_up_again(tmp_path: Path, heir: SidecarWatch) -> None:
    leave_behind(tmp_path)

    def fail() -> None:
        for _ in heir.older():
            raise ConnectionError("PostgreSQL is away")

    for _ in range(3):
        with pytest.raises(ConnectionError):
            fail()
    assert len(list(heir.older())) == 1


def test_inheriting_leaves_nothing_open_and_nothing_behind(tmp_path: Path, heir: SidecarWatch) -> None:
    paths = [leave_behind(tmp_path) for _ in range(3)]
    before = len(os.listdir("/proc/self/fd"))
    for records in heir.older():
        records.remove()
        del records
    assert len(os.listdir("/proc/self/fd")) <= before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(tuple(p.name for p in paths))] == []
