"""The writer of log lines: whatever the reader does, nothing waits or raises, and every line is whole."""

from __future__ import annotations

import contextlib
import os
import pty
import resource
import select
import signal
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from taskhub.logs.lines import MAX_LINE_BYTES, LineWriter
from tests.waiting import stretched

LINE = b"x" * 999 + b"\n"
STALLED_S = 1.0  # two thousand lines that nobody reads: a hundredth of what waiting for each would take


def writer_to(descriptor: int, *, waits: bool = True) -> LineWriter:
    return LineWriter(descriptor, lambda count: b"dropped %d\n" % count, waits=waits)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of the least capacity, its ends open."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def fill(writer: LineWriter) -> int:
    """Write until lines are dropped; returns how many were written."""
    written = 0
    while not writer.take_dropped():
        writer.write(LINE)
        written += 1
    return written - 1


def took_s(do: Callable[[], object]) -> float:
    began_s = time.monotonic()
    do()
    return time.monotonic() - began_s


def drained(descriptor: int) -> bytes:
    """All that can be read now."""
    os.set_blocking(descriptor, False)
    found = b""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(descriptor, 1 << 20):
            found += data
    return found


def write_many(writer: LineWriter) -> None:
    for _ in range(2000):
        writer.write(LINE)


def test_a_full_pipe_is_waited_for_once_and_then_lines_are_dropped(pipe: tuple[int, int]) -> None:
    writer = writer_to(pipe[1])

    first_s = took_s(lambda: fill(writer))

    assert 0.09 < first_s < stretched(0.5)
    assert took_s(lambda: write_many(writer)) < stretched(STALLED_S)
    assert writer.take_dropped() == 2000


def test_a_process_that_must_never_wait_drops_at_once_and_its_children_may_wait(pipe: tuple[int, int]) -> None:
    writer = writer_to(pipe[1], waits=False)

    assert took_s(lambda: fill(writer)) < stretched(STALLED_S)
    child = os.fork()
    if child == 0:
        os._exit(0 if took_s(lambda: writer.write(LINE)) > 0.09 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_when_the_reader_is_back_it_learns_what_it_has_missed(pipe: tuple[int, int]) -> None:
    writer = writer_to(pipe[1])
    written = fill(writer)
    write_many(writer)

    before = drained(pipe[0])
    writer.write(LINE)

    assert before == LINE * written
    assert drained(pipe[0]) == LINE + b"dropped 2001\n"


def test_a_reader_that_is_merely_slow_does_not_make_each_line_wait(pipe: tuple[int, int]) -> None:
    writer = writer_to(pipe[1])
    fill(writer)

    def slowly() -> None:
        for _ in range(20):
            os.read(pipe[0], MAX_LINE_BYTES)
            for _ in range(20):
                writer.write(LINE)

    assert took_s(slowly) < stretched(1)


def test_others_that_share_the_pipe_go_on_blocking(pipe: tuple[int, int]) -> None:
    writer_to(pipe[1])

    assert os.get_blocking(pipe[1])


def test_every_line_that_comes_out_of_a_stalling_pipe_is_whole(pipe: tuple[int, int]) -> None:
    """Several processes write lines of all lengths while the reader reads in fits and starts."""
    children = [_fork_a_writer(pipe[1], kind) for kind in b"abc"]
    os.close(pipe[1])
    found = b""
    stalls = 3
    while data := os.read(pipe[0], 3001):
        found += data
        if stalls and len(found) > 100_000 * (4 - stalls):
            stalls -= 1
            select.select([], [], [], 0.15)

    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    lines = [line for line in found.split(b"\n")[:-1] if not line.startswith(b"dropped")]
    assert len(lines) > 100
    assert all(len(set(line)) == 1 for line in lines)


def _fork_a_writer(descriptor: int, kind: int) -> int:
    child = os.fork()
    if child == 0:
        writer = writer_to(descriptor)
        for size in range(1, 4095, 9):
            writer.write(bytes([kind]) * size + b"\n")
        os._exit(0)
    return child


def test_a_full_terminal_stops_nobody_and_its_lines_stay_apart() -> None:
    reader, terminal = pty.openpty()
    tty.setraw(terminal)
    writer = writer_to(terminal)
    fill(writer)
    assert took_s(lambda: write_many(writer)) < stretched(STALLED_S)

    os.set_blocking(reader, False)
    found = b""
    for _ in range(3):
        with contextlib.suppress(BlockingIOError):
            while data := os.read(reader, 65536):
                found += data
        writer.write(LINE)

    assert b"dropped" in found
    assert {line for line in found.split(b"\n")[:-1] if not line.startswith(b"dropped")} <= {LINE[:-1], b""}
    os.close(reader)
    os.close(terminal)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_full_socket_stops_nobody(kind: socket.SocketKind) -> None:
    reader, sender = socket.socketpair(socket.AF_UNIX, kind)
    with reader, sender:
        writer = writer_to(sender.fileno())
        fill(writer)
        assert took_s(lambda: write_many(writer)) < stretched(STALLED_S)
        assert sender.getblocking()
        writer.close()


def test_a_connection_takes_a_long_line_in_parts_and_no_part_is_glued() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sender.connect(server.getsockname())
        reader, _ = server.accept()
        writer = writer_to(sender.fileno())
        fill(writer)
        found = b""
        with reader:
            reader.settimeout(0.05)
            for _ in range(30):
                with contextlib.suppress(TimeoutError):
                    found += reader.recv(777)
                writer.write(LINE)
            with contextlib.suppress(TimeoutError):
                while data := reader.recv(65536):
                    found += data
                    writer.write(LINE)
                    if b"dropped" in found:
                        break
        writer.close()
    assert b"dropped" in found
    assert {line for line in found.split(b"\n")[:-1] if not line.startswith(b"dropped")} <= {LINE[:-1], b""}


def test_a_reader_that_is_gone_costs_nothing(pipe: tuple[int, int]) -> None:
    writer = writer_to(pipe[1])
    os.close(pipe[0])

    assert took_s(lambda: write_many(writer)) < stretched(STALLED_S)
    assert writer.take_dropped() == 2000


def test_a_pipe_whose_reader_was_never_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    both = os.open(tmp_path / "log", os.O_RDWR)
    writer = writer_to(both)
    assert fill(writer) > 10
    os.close(both)

    assert took_s(lambda: write_many(writer)) < stretched(STALLED_S)


@pytest.mark.parametrize("target", ["/dev/full", "/dev/null"])
def test_devices(target: str) -> None:
    descriptor = os.open(target, os.O_WRONLY)
    writer = writer_to(descriptor)

    assert took_s(lambda: write_many(writer)) < stretched(STALLED_S)
    assert writer.take_dropped() == (2000 if target == "/dev/full" else 0)
    os.close(descriptor)


def test_a_standard_output_that_is_closed_is_no_error() -> None:
    closed = os.dup(1)
    os.close(closed)
    writer = writer_to(closed)

    writer.write(LINE)

    assert writer.take_dropped() == 1
    writer.close()


def test_a_file_that_was_full_goes_on_with_a_line_of_its_own(tmp_path: Path) -> None:
    """What did not fit is cut off; nothing that comes later is glued to it, not even from another process."""
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    one, other = writer_to(descriptor), writer_to(descriptor)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, before[1]))
    try:
        for _ in range(5):
            one.write(LINE)
            other.write(LINE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    other.write(LINE)
    one.write(LINE)

    lines = (tmp_path / "log").read_bytes().split(b"\n")
    assert [line for line in lines if len(line) == 500] == [b"x" * 500]
    assert sum(line == LINE[:-1] for line in lines) == 4
    assert any(line.startswith(b"dropped") for line in lines)
    assert all(line in (LINE[:-1], b"", b"x" * 500) or line.startswith(b"dropped") for line in lines)
    os.close(descriptor)


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("error", [Interrupt, TimeoutError, MemoryError])
def test_what_a_signal_handler_raises_in_mid_write_is_passed_on(error: type[BaseException], tmp_path: Path) -> None:
    """The line may be torn, but the next one is not glued to it, and whoever asked for the interrupt gets it."""

    came = raised = 0

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came += 1
        raise error

    writer = writer_to(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        while came < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00005)
                while True:
                    writer.write(LINE)
            except error:
                raised += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert raised == came == 300
    assert {len(line) for line in (tmp_path / "log").read_bytes().split(b"\n")} <= {0, 999}


def test_threads_and_their_forks_never_wait_for_each_other(tmp_path: Path) -> None:
    writer = writer_to(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    done = threading.Event()

    def keep_writing() -> None:
        while not done.is_set():
            writer.write(LINE)

    threads = [threading.Thread(target=keep_writing) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                writer.write(LINE)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set((tmp_path / "log").read_bytes().split(b"\n")) == {LINE[:-1], b""}
