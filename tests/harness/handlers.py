"""Job types for tests: each writes into the ledger what it does, and some are as bad as handlers get."""

from __future__ import annotations

import ctypes
import functools
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from taskhub.handlers.raises import Fail, Retry
from taskhub.handlers.registry import handler
from tests.harness.ledger import note

Run = Callable[[Any], Any]


def recorded(type: str, **options: Any) -> Callable[[Run], Run]:
    """Declare a handler whose start and end the ledger shows."""

    def declare(function: Run) -> Run:
        @functools.wraps(function)
        def run(job: Any) -> Any:
            note("start", job.id, job.attempt)
            try:
                result = function(job)
            except BaseException:
                note("error", job.id, job.attempt)
                raise
            note("end", job.id, job.attempt)
            return result

        return handler(type, **options)(run)

    return declare


@recorded("ledger.noop")
def noop(job: Any) -> None:
    """Do nothing."""


@recorded("ledger.transact")
def transact(job: Any) -> None:
    """Do nothing, in a transaction with the completion."""
    with job.transaction() as cursor:
        cursor.execute("SELECT 1")


@recorded("ledger.echo")
def echo(job: Any) -> Any:
    """Return the payload."""
    return job.payload


@recorded("ledger.sleep")
def sleep(job: Any) -> None:
    """Sleep for `seconds`."""
    time.sleep(job.payload["seconds"])


@recorded("ledger.until")
def until(job: Any) -> None:
    """Work until `file` is there."""
    while not os.path.exists(job.payload["file"]):
        time.sleep(0.02)


@recorded("ledger.fail")
def fail(job: Any) -> None:
    """Fail while `attempt <= times`; without `times`, always."""
    if job.attempt <= job.payload.get("times", job.attempt):
        raise RuntimeError("the ledger's failure")


@recorded("ledger.flaky")
def flaky(job: Any) -> None:
    """Fail 30 times in a hundred."""
    if random.random() < 0.3:
        raise RuntimeError("bad luck")


@recorded("ledger.retry")
def retry(job: Any) -> None:
    """Ask once for another try after `after_s`."""
    if job.attempt == 1:
        raise Retry(job.payload.get("after_s"))


@recorded("ledger.give_up")
def give_up(job: Any) -> None:
    """Fail for good."""
    raise Fail("there is no point")


@recorded("ledger.unstorable")
def unstorable(job: Any) -> Any:
    """Return what JSON cannot say."""
    return {1, 2, 3}


@recorded("ledger.kill_self")
def kill_self(job: Any) -> None:
    """Die by SIGKILL while `attempt <= times`; without `times`, always."""
    if job.attempt <= job.payload.get("times", job.attempt):
        os.kill(os.getpid(), signal.SIGKILL)


@recorded("ledger.exit")
def exit_process(job: Any) -> None:
    """End the process with `code`, without a word."""
    os._exit(job.payload["code"])


@recorded("ledger.segfault")
def segfault(job: Any) -> None:
    """Read what is not there."""
    ctypes.string_at(0)


@recorded("ledger.stop_self")
def stop_self(job: Any) -> None:
    """Freeze the process."""
    os.kill(os.getpid(), signal.SIGSTOP)


@recorded("ledger.spin")
def spin(job: Any) -> None:
    """Hold the interpreter in C for about `seconds`: no other thread and no signal handler runs meanwhile."""
    sample, began = 1_000_000, time.monotonic()
    sum(range(sample))
    sum(range(int(sample * job.payload["seconds"] / (time.monotonic() - began))))


@recorded("ledger.swallow")
def swallow(job: Any) -> None:
    """Work for `seconds` and swallow every exception on the way."""
    ends = time.monotonic() + job.payload["seconds"]
    while time.monotonic() < ends:
        try:
            time.sleep(0.05)
        except BaseException:
            continue


@recorded("ledger.ignore_term")
def ignore_term(job: Any) -> None:
    """Ignore SIGTERM and work for `seconds`."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(job.payload["seconds"])


@recorded("ledger.grandchild")
def grandchild(job: Any) -> None:
    """Start a process of its own (`grandchild` in the ledger), and wait for it."""
    child = subprocess.Popen(["sleep", str(job.payload["seconds"])])
    note("grandchild", job.id, job.attempt, child.pid)
    child.wait()


@recorded("ledger.allocate")
def allocate(job: Any) -> int:
    """Hold `mb` megabytes for `seconds`."""
    held = bytearray(job.payload["mb"] * 2**20)
    for page in range(0, len(held), 4096):
        held[page] = 1
    time.sleep(job.payload.get("seconds", 0))
    return len(held)
