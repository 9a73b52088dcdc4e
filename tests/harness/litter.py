"""Job types for tests that leave something behind in their process, or running beside it."""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from taskhub.child.settling import Settler
from taskhub.services.execution.claim import Claimer
from tests.harness.handlers import recorded
from tests.harness.ledger import note

_hoard: list[bytes] = []

ENDS: dict[str, Callable[[], object]] = {
    "exit": lambda: os._exit(7),
    "abort": lambda: os.abort(),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill_all": lambda: os.kill(0, signal.SIGKILL),
    "kill_group": lambda: os.killpg(os.getpgrp(), signal.SIGKILL),
    "kill_thread": lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGKILL),
    "become": lambda: os.execv("/bin/false", ["false"]),
}


@recorded("litter.arm")
def arm(job: Any) -> None:
    """Leave a timer that would end the process."""
    signal.setitimer(signal.ITIMER_REAL, job.payload["seconds"])


@recorded("litter.arm_raising")
def arm_raising(job: Any) -> None:
    """Leave a timer whose handler raises, as time-outs of libraries do."""

    def late(*_: object) -> None:
        raise TimeoutError("of a job that is over")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, job.payload["seconds"], job.payload["seconds"])


@recorded("litter.end_later")
def end_later(job: Any) -> None:
    """Leave a thread that ends the process, by whatever way is asked for."""
    threading.Timer(job.payload["seconds"], ENDS[job.payload["by"]]).start()
    time.sleep(job.payload.get("stays", 0))


@recorded("litter.break_len")
def break_len(job: Any) -> None:
    """Replace what everybody counts with."""
    builtins.len = lambda _: 0  # type: ignore[assignment]


@recorded("litter.spoil")
def spoil(job: Any) -> None:
    """Leave the group by which the supervisor would end it."""
    os.setpgid(0, os.getpgid(os.getppid()))


@recorded("litter.hoard")
def hoard(job: Any) -> None:
    """Keep `mb` megabytes."""
    _hoard.append(b"x" * (job.payload["mb"] * 2**20))


@recorded("litter.dispositions")
def dispositions(job: Any) -> dict[str, int]:
    """Which signals a process that a handler forks does not leave to the system."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP)
        kept = [number.name for number in numbers if signal.getsignal(number) != signal.SIG_DFL]
        os.write(write, " ".join(kept).encode() or b"-")
        signal.pause()
    kept_names = os.read(read, 1000).decode().split()
    os.kill(pid, signal.SIGUSR1)  # the supervisor's word to a child; to any other process it is the end
    _, status = os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    return {"ended_by": os.WTERMSIG(status), **dict.fromkeys(kept_names, 1)}


@recorded("litter.family")
def family(job: Any) -> None:
    """Start a program and a daemon, each in a session of its own, and go on for `seconds`."""
    program = subprocess.Popen(["sleep", "60"], start_new_session=True, env=job.payload.get("env"))
    note("program", job.id, job.attempt, program.pid)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note("daemon", job.id, job.attempt)
            os.closerange(0, 1000)
            time.sleep(60)
        os._exit(0)
    os.wait()
    time.sleep(job.payload["seconds"])


@recorded("litter.break_ours")
def break_ours(job: Any) -> None:
    """Take away what our own code needs for whatever comes next."""
    Claimer.claim = None  # type: ignore[method-assign,assignment]
    if job.payload["all"]:
        Settler.settle_all = None  # type: ignore[method-assign,assignment]
