"""A state folder that several workers share, as the containers of one host do, and in which anything may lie."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.shared import layout as m
from supervisor.shared.file import Memory
from supervisor.shared.predecessors import Predecessor, older_files
from supervisor.shared.sidecar_link import SidecarLink
from tests.harness.forks import fork, in_fork
from tests.waiting import wait_until

SLOTS = 2


@pytest.fixture
def successor(tmp_path: Path) -> SidecarLink:
    """The sidecar of a living worker."""
    return SidecarLink(Memory.create(tmp_path, str(uuid.uuid4()), 1), os.pipe()[0])


def leave_behind(folder: Path) -> Path:
    """The file of a worker that is dead: two generations were used, one of them had a task."""
    worker = str(uuid.uuid4())

    def live_and_die() -> None:
        dead = Memory.create(folder, worker, SLOTS)
        dead.bank(0, 1).begin(1)
        bank = dead.bank(1, 4)
        bank.begin(4)
        bank.set_id(m.B_TASK, str(uuid.uuid4()))
        bank.set_id(m.B_TOKEN, str(uuid.uuid4()))
        bank[m.B_STARTED] = m.now_ns()
        bank[m.B_PHASE] = m.PHASE_HANDLER
        dead.scratch.mkdir()

    assert in_fork(live_and_die) == 0
    return folder / f"worker-{worker}"


def found(successor: SidecarLink) -> dict[str, list[int]]:
    """What a successor sees of each dead worker: the generations that it can rely upon."""
    return {records.worker: [record.generation for record in records.all()] for records in successor.predecessors()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Who is dead


@contextmanager
def living(folder: Path, function: Callable[[Memory], object]) -> Iterator[int]:
    """A process that makes a worker's memory and then does this."""
    read, write = os.pipe()

    def live() -> None:
        memory = Memory.create(folder, str(uuid.uuid4()), SLOTS)
        memory.bank(1, 5).begin(5)
        os.write(write, b"x")
        function(memory)

    pid = fork(live)
    os.read(read, 1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_living_neighbour_is_nobodys_inheritance(tmp_path: Path, successor: SidecarLink) -> None:
    with living(tmp_path, lambda _: signal.pause()):
        assert found(successor) == {}
    assert [*found(successor).values()] == [[5]]


def test_a_file_is_inherited_only_when_the_last_of_its_workers_processes_is_gone(
    tmp_path: Path, successor: SidecarLink
) -> None:
    read, write = os.pipe()

    def leave_a_child(memory: Memory) -> None:
        if os.fork() == 0:
            memory.join()
            os.write(write, str(os.getpid()).encode())
            signal.pause()
        os._exit(0)

    with living(tmp_path, leave_a_child):
        child = int(os.read(read, 100))
    try:
        assert found(successor) == {}
    finally:
        os.kill(child, signal.SIGKILL)
    assert wait_until(lambda: [*found(successor).values()] == [[5]], 5, "the file is free")


def test_what_a_job_has_left_running_does_not_keep_its_workers_file(tmp_path: Path, successor: SidecarLink) -> None:
    read, write = os.pipe()

    def leave_a_daemon(_: Memory) -> None:
        if os.fork() == 0:  # with the mapping, the descriptor and all: but it never joined
            os.setsid()
            os.write(write, str(os.getpid()).encode())
            signal.pause()
        os._exit(0)

    with living(tmp_path, leave_a_daemon):
        daemon = int(os.read(read, 100))
    try:
        assert [*found(successor).values()] == [[5]]
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_file_appears_under_its_name_only_once_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    lock = fcntl.lockf

    def watching(descriptor: int, operation: int, length: int) -> None:
        seen.append([path.name for path in older_files(tmp_path, "somebody-else")])
        lock(descriptor, operation, length)

    monkeypatch.setattr(fcntl, "lockf", watching)
    Memory.create(tmp_path, str(uuid.uuid4()), 1)
    assert seen == [[]]


def test_one_successor_is_enough(tmp_path: Path) -> None:
    path = leave_behind(tmp_path)
    first = Predecessor.take(path)
    assert first is not None
    assert Predecessor.take(path) is None  # another thread of this process
    assert in_fork(lambda: os._exit(7 if Predecessor.take(path) is None else 8)) == 7
    first.release()
    assert in_fork(lambda: os._exit(7 if Predecessor.take(path) is None else 8)) == 8


# What they left


def test_the_dead_are_inherited_with_what_they_left(tmp_path: Path, successor: SidecarLink) -> None:
    path = leave_behind(tmp_path)
    assert found(successor) == {path.name.removeprefix("worker-"): [1, 4]}


def test_an_inheritance_that_failed_half_way_can_be_taken_up_again(tmp_path: Path, successor: SidecarLink) -> None:
    leave_behind(tmp_path)

    def fail() -> None:
        for _ in successor.predecessors():
            raise ConnectionError("PostgreSQL is away")

    for _ in range(3):
        with pytest.raises(ConnectionError):
            fail()
    assert len(list(successor.predecessors())) == 1


def test_inheriting_leaves_nothing_open_and_nothing_behind(tmp_path: Path, successor: SidecarLink) -> None:
    paths = [leave_behind(tmp_path) for _ in range(3)]
    before = len(os.listdir("/proc/self/fd"))
    for records in successor.predecessors():
        records.remove()
        del records
    assert len(os.listdir("/proc/self/fd")) <= before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(tuple(p.name for p in paths))] == []


def test_times_of_another_boot_are_not_believed(tmp_path: Path, successor: SidecarLink) -> None:
    path = leave_behind(tmp_path)
    with path.open("r+b") as file:
        file.seek(m.H_BOOT_ID * 8)
        file.write(uuid.uuid4().bytes)
        file.seek(m.bank_offset(1, 0) + m.B_STARTED * 8)
        file.write((2**62).to_bytes(8, "little"))
    [records] = [[*records.all()] for records in successor.predecessors()]
    assert [record.is_of_this_boot for record in records] == [False, False]
    assert records[1].started_s <= m.now_ns() / 1e9


# What is no such file, or not any more


def cuts() -> list[int]:
    """Each border of the header's fields, of the banks and of the file, and what lies around it."""
    borders = [8 * word for word in range(m.H_BOOT_ID + 3)] + [m.HEADER_BYTES, m.FILE_BYTES]
    borders += [m.bank_offset(slot, bank) for slot in range(SLOTS) for bank in range(m.BANKS)]
    near = {border + by for border in borders for by in (-1, 0, 1)} - {m.FILE_BYTES}
    return sorted(cut for cut in near if cut >= 0) + random.sample(range(m.FILE_BYTES), 200)


def test_a_file_that_was_cut_anywhere_is_set_aside_and_its_worker_named(tmp_path: Path, successor: SidecarLink) -> None:
    path = leave_behind(tmp_path)
    for cut in cuts():
        os.truncate(path, cut)
        for records in successor.predecessors():
            assert (records.worker, [*records.all()]) == (path.name.removeprefix("worker-"), []), cut
            records.remove()
        kept = tmp_path / path.name.replace("worker-", "damaged-")
        assert kept.exists(), (cut, names(tmp_path))
        assert not path.exists()
        kept.rename(path)
    assert names(tmp_path) == {successor_file(successor), path.name, f"{kept.name}.reason"}


def successor_file(successor: SidecarLink) -> str:
    return f"worker-{successor.worker}"


def test_no_flipped_bit_stops_a_successor(tmp_path: Path, successor: SidecarLink) -> None:
    path = leave_behind(tmp_path)
    words = [*range(m.H_BOOT_ID + 3), *((m.bank_offset(1, 0) // 8 + word) for word in range(m.B_HELPER_TICK + 2))]
    with path.open("r+b") as file:
        for word in words:
            for bit in random.sample(range(64), 8):
                flip(file.fileno(), word * 8 + bit // 8, 1 << bit % 8)
                for records in successor.predecessors():
                    assert len([*records.all()]) <= 2
                flip(file.fileno(), word * 8 + bit // 8, 1 << bit % 8)
    assert [*found(successor).values()] == [[1, 4]]


def flip(descriptor: int, at: int, mask: int) -> None:
    os.pwrite(descriptor, bytes([os.pread(descriptor, 1, at)[0] ^ mask]), at)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (m.B_GENERATION, 5),  # of the slot's other bank
        (m.B_GENERATION, 2**40),
        (m.B_PHASE, 77),
        (m.B_DEATH, 2**33),
        (m.B_DEATH_REASON, 9),
        (m.B_CONFIRMED, 7),
        (m.B_JOURNAL_END, m.JOURNAL_BYTES + 1),
        (m.B_STARTED, 2**62),
    ],
)
def test_a_record_that_cannot_be_is_not_believed_and_its_bytes_are_kept(
    tmp_path: Path, successor: SidecarLink, word: int, value: int
) -> None:
    path = leave_behind(tmp_path)
    with path.open("r+b") as file:
        file.seek(m.bank_offset(1, 0) + word * 8)
        file.write(value.to_bytes(8, "little"))
    for records in successor.predecessors():
        assert [record.generation for record in records.all()] == [1], "the other record is as good as before"
        records.remove()
    kept = path.name.replace("worker-", "damaged-")
    assert names(tmp_path) == {successor_file(successor), kept, f"{kept}.reason"}
    assert "slot 1" in (tmp_path / f"{kept}.reason").read_text()


def test_junk_in_the_folder_stops_nobody(tmp_path: Path, successor: SidecarLink) -> None:
    dead = leave_behind(tmp_path)
    (tmp_path / "worker-folder").mkdir()
    (tmp_path / "worker-link").symlink_to("worker-nowhere")
    (tmp_path / f"worker-{uuid.uuid4()}").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "worker-pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "worker-socket"))
    (tmp_path / "worker-of-no-kind").write_bytes(b"x" * 100)
    (tmp_path / os.fsdecode(b"worker-\xff\xfe")).write_bytes(b"")
    (tmp_path / f"worker-{uuid.uuid4()}.shared").mkdir()
    assert found(successor) == {dead.name.removeprefix("worker-"): [1, 4]}
    assert (tmp_path / "damaged-of-no-kind").exists()
    assert found(successor) == {dead.name.removeprefix("worker-"): [1, 4]}


def test_what_a_kill_left_of_a_file_in_the_making_is_removed_later(tmp_path: Path, successor: SidecarLink) -> None:
    old, fresh = tmp_path / f"new-{uuid.uuid4()}", tmp_path / f"new-{uuid.uuid4()}"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert found(successor) == {}
    assert (old.exists(), fresh.exists()) == (False, True)


def test_what_is_kept_is_bounded(tmp_path: Path, successor: SidecarLink) -> None:
    for number in range(12):
        path = tmp_path / f"worker-{uuid.uuid4()}"
        path.write_bytes(b"x")
        os.utime(path, (number, number))
    os.truncate(path, 10**12)  # a hole that would be a terabyte
    for records in successor.predecessors():
        records.remove()
    kept = [name for name in names(tmp_path) if name.startswith("damaged-")]
    assert len(kept) == 16, "eight, and the reason of each"
    assert max((tmp_path / name).stat().st_size for name in kept) <= m.FILE_BYTES
