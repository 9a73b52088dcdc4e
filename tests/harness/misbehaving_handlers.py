"""More job types for tests: of transactions, memory, processes and time."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from tests.harness.handlers import recorded
from tests.harness.ledger import note

_hoard: list[bytearray] = []


@recorded("misbehaving_handlers.loop")
def loop(job: Any) -> None:
    """Compute in Python for `seconds`."""
    ends = time.monotonic() + job.payload["seconds"]
    while time.monotonic() < ends:
        sum(range(100))


@recorded("misbehaving_handlers.innocent")
def innocent(job: Any) -> None:
    """Work for a moment; an exception here is somebody else's fault."""
    ends = time.monotonic() + 0.01
    while time.monotonic() < ends:
        sum(range(100))


@recorded("misbehaving_handlers.hoard")
def hoard(job: Any) -> int:
    """Keep `mb` megabytes for as long as the process lives."""
    held = bytearray(job.payload["mb"] * 2**20)
    for page in range(0, len(held), 4096):
        held[page] = 1
    _hoard.append(held)
    return os.getpid()


@recorded("misbehaving_handlers.whoami")
def whoami(job: Any) -> int:
    """The pid of this process."""
    return os.getpid()


@recorded("misbehaving_handlers.fork")
def fork(job: Any) -> int:
    """Fork, and let the copy return from the handler as well."""
    os.fork()
    return os.getpid()


@recorded("misbehaving_handlers.insert")
def insert(job: Any) -> None:
    """Write a row of `effects` in the transaction that completes the job; then fail if it `fails` inside or after."""
    with job.transaction() as cursor:
        cursor.execute("INSERT INTO effects (job, attempt) VALUES (%s, %s)", (job.id, job.attempt))
        time.sleep(job.payload.get("seconds", 0))
        if job.payload.get("fails") == "inside" and job.attempt == 1:
            raise RuntimeError("inside the transaction")
    if job.payload.get("fails") == "after":
        raise RuntimeError("after the transaction")


@recorded("misbehaving_handlers.family")
def family(job: Any) -> None:
    """Start a process that starts another, and wait for them, whatever happens."""
    script = f"sleep {job.payload['seconds']} & echo $! ; wait"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    assert shell.stdout is not None
    note("grandchild", job.id, job.attempt, shell.pid)
    note("grandchild", job.id, job.attempt, int(shell.stdout.readline()))
    while shell.poll() is None:
        try:
            time.sleep(0.05)
        except BaseException:
            continue
