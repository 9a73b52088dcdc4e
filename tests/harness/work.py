"""Count what a piece of work takes, instead of timing it: a count is the same on a busy machine.

Calls are counted by the interpreter's own hook, also in every thread that begins meanwhile; what the servers have done
is asked of them.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Any

import redis as redis_client
from psycopg2.extensions import cursor

from tests.harness.rows import Rows

Work = Counter[str]

STATEMENTS, SENDS, COMMANDS, WAL = "statements", "sends to Redis", "commands of Redis", "bytes of WAL"
PYTHON, C, SYSCALLS = "calls of Python", "calls of C", "system calls"
_BY_THE_CLOCK = {"served_queues"}  # sent once in a while, however much is done meanwhile
_SENDING = {"send", "sendall", "sendmsg"}
_LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.MULTILINE)
_WAITING = {"clock_nanosleep", "futex", "poll", "restart_syscall", "select", "total"}  # how often is the clock's affair


@contextmanager
def counted_calls() -> Iterator[Work]:
    """The calls within the block, and those of them that send something to a server."""
    work: Work = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            work[PYTHON] += 1
        elif event == "c_call":
            work[C] += 1
            if argument.__name__ == "execute" and isinstance(argument.__self__, cursor):
                work[STATEMENTS] += _named(frame) not in _BY_THE_CLOCK
            elif argument.__name__ in _SENDING and isinstance(argument.__self__, socket):
                work[SENDS] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield work
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


@contextmanager
def counted_servers(rows: Rows, redis: redis_client.Redis) -> Iterator[Work]:
    """What the test's own servers have done within the block."""
    work: Work = Counter()
    wal, commands = _wal(rows), _commands(redis)
    yield work
    work[WAL] = _wal(rows) - wal
    work[COMMANDS] = _commands(redis) - commands - 1  # the first look itself


@contextmanager
def counted_system_calls(pid: int, told: Path) -> Iterator[Callable[[], int] | None]:
    """Those of a process from now on, but for its waits; the function ends it. None where it may not be looked at."""
    found = shutil.which("strace")
    if found is None:
        yield None
        return
    tracer = subprocess.Popen([found, "-c", "-f", "-o", str(told), "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    word = tracer.stderr.readline()

    def total() -> int:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        return sum(int(count) for count, name in _LINE.findall(told.read_text()) if name not in _WAITING)

    try:
        yield total if "attached" in word else None
    finally:
        with suppress(ProcessLookupError):
            tracer.kill()
        tracer.wait(10)
        tracer.stderr.close()


def _named(frame: FrameType | None) -> str:
    """The name of the statement that is being sent; of plain SQL, nothing."""
    while frame is not None and frame.f_code.co_name != "run":
        frame = frame.f_back
    return str(frame.f_locals.get("name", "")) if frame is not None else ""


def _wal(rows: Rows) -> int:
    return int(rows.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


def _commands(redis: redis_client.Redis) -> int:
    return int(redis.info("stats")["total_commands_processed"])
