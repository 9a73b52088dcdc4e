"""What a job leaves in its process: undone before the next, or the process is spoilt and says for what."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import faulthandler
import gc
import json
import locale
import logging
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskhub.child import setters
from taskhub.child.clean_ground import CleanGround
from tests.harness.forks import in_fork

Act = Callable[[], object]
State = Callable[[], object]


def raise_alarm(*_: object) -> None:
    raise TimeoutError


def replace_stdout() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (a handler that does not tidy up)


def take_descriptor_one() -> None:
    os.close(1)
    assert os.open(os.devnull, os.O_WRONLY) == 1


def lose_the_folder() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)


def identity_of(path: str) -> object:
    return os.stat(path)[:3]


def identity(descriptor: int) -> object:
    with contextlib.suppress(OSError):
        return os.fstat(descriptor)[:3]
    return None


LEFT: dict[str, tuple[Act, State]] = {
    "an alarm": (lambda: signal.alarm(60), lambda: signal.getitimer(signal.ITIMER_REAL)),
    "a virtual timer": (
        lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 60, 60),
        lambda: signal.getitimer(signal.ITIMER_VIRTUAL),
    ),
    "a profiling timer": (
        lambda: signal.setitimer(signal.ITIMER_PROF, 60),
        lambda: signal.getitimer(signal.ITIMER_PROF),
    ),
    "a handler of SIGALRM": (
        lambda: signal.signal(signal.SIGALRM, raise_alarm),
        lambda: signal.getsignal(signal.SIGALRM),
    ),
    "a handler of a real-time signal": (lambda: signal.signal(40, raise_alarm), lambda: signal.getsignal(40)),
    "deafness to the supervisor": (
        lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
        lambda: signal.getsignal(signal.SIGUSR2),
    ),
    "a wakeup descriptor": (
        lambda: signal.set_wakeup_fd(os.pipe2(os.O_NONBLOCK)[1]),
        lambda: signal.set_wakeup_fd(-1),
    ),
    "a blocked signal": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    ),
    "a working directory": (lambda: os.chdir("/proc"), os.getcwd),
    "a working directory that is gone": (lose_the_folder, os.getcwd),
    "a mask for new files": (lambda: os.umask(0o777), lambda: os.umask(0o022)),
    "a new variable": (lambda: os.environ.update(LEFT_BEHIND="1"), lambda: os.environ.get("LEFT_BEHIND")),
    "a lost variable": (lambda: os.environ.pop("PATH"), lambda: os.environ.get("PATH")),
    "a time zone": (lambda: (os.environ.update(TZ="Asia/Tokyo"), time.tzset()), lambda: time.tzname),
    "a soft limit": (
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])),
        lambda: resource.getrlimit(resource.RLIMIT_CORE)[0],
    ),
    "processors": (lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]), lambda: os.sched_getaffinity(0)),
    "a locale": (lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"), lambda: locale.setlocale(locale.LC_ALL)),
    "warning filters": (lambda: warnings.simplefilter("error"), lambda: list(warnings.filters)),
    "a trace": (lambda: sys.settrace(lambda *_: None), sys.gettrace),
    "a profile": (lambda: sys.setprofile(lambda *_: None), sys.getprofile),
    "a depth of recursion": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "a switch interval": (lambda: sys.setswitchinterval(1.0), sys.getswitchinterval),
    "no collection": (lambda: gc.disable(), lambda: gc.isenabled()),
    "a socket timeout": (lambda: socket.setdefaulttimeout(0.001), socket.getdefaulttimeout),
    "silenced logging": (lambda: logging.disable(logging.CRITICAL), lambda: logging.root.manager.disable),
    "a stack size": (lambda: threading.stack_size(16 * 1024 * 1024), threading.stack_size),
    "another stdout": (replace_stdout, lambda: sys.stdout),
    "a closed descriptor": (lambda: os.close(0), lambda: identity(0)),
    "another file as descriptor 1": (take_descriptor_one, lambda: identity(1)),
    "an exception hook": (lambda: setattr(sys, "excepthook", print), lambda: sys.excepthook),
    "a hook of threads": (lambda: setattr(threading, "excepthook", print), lambda: threading.excepthook),
}


def on_ground(function: Callable[[CleanGround], None]) -> None:
    """Do this in a process of its own, as a child does it."""

    def live() -> None:
        faulthandler.disable()  # the test runner's
        sys.settrace(None)
        setters.watch_setters()
        signal.signal(signal.SIGUSR2, raise_alarm)
        ground = CleanGround()
        ground.begin()
        function(ground)

    assert in_fork(live) == 0


@pytest.mark.parametrize("what", LEFT)
def test_what_a_job_leaves_is_undone(what: str) -> None:
    act, state = LEFT[what]

    def leave(ground: CleanGround) -> None:
        before = state()
        if "descriptor 1" not in what:
            ground.clean()
        act()
        ground.clean()
        assert state() == before
        assert ground.spoilt is None

    on_ground(leave)


NOT_NOTICED = {"another stdout", "an exception hook", "a hook of threads"}  # by assignment: found by the full look


@pytest.mark.parametrize("what", sorted(LEFT.keys() - NOT_NOTICED))
def test_what_is_set_by_a_function_is_noticed_at_once(what: str) -> None:
    def leave(_: CleanGround) -> None:
        assert not setters.TOUCHED.is_set
        LEFT[what][0]()
        assert setters.TOUCHED.is_set

    on_ground(leave)


@pytest.mark.parametrize("lose", [os.rmdir, lambda folder: os.rename(folder, f"{folder}-moved")])
def test_a_working_directory_that_others_remove_or_rename_is_no_jobs_doing(
    tmp_path: Path, lose: Callable[[Path], object]
) -> None:
    home = tmp_path / "home"

    def leave(_: CleanGround) -> None:
        home.mkdir()
        os.chdir(home)
        ground = CleanGround()
        ground.begin()
        lose(home)
        before = identity_of(".")
        for act in (lambda: None, lambda: os.chdir("/"), lose_the_folder):
            act()
            ground.clean()
            assert (identity_of("."), ground.spoilt) == (before, None)

    on_ground(leave)


SPOILT: dict[str, Act] = {
    "resource limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50)),
    "priority": lambda: os.nice(5),
    "user or session": lambda: os.setresgid(-1, 12345, -1),
    "standard streams": lambda: sys.stdout.close(),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_cannot_be_undone_ends_the_child_and_says_why(what: str) -> None:
    def leave(ground: CleanGround) -> None:
        if os.getuid() == 0:  # as another, who may not take such things back
            os.setgroups([])
            os.setresuid(12345, 12345, 12345)
            ground = CleanGround()
            ground.begin()
        with contextlib.suppress(PermissionError):
            SPOILT[what]()
            ground.clean()
            assert ground.spoilt is not None
            assert what in ground.spoilt
            return
        assert what == "user or session"  # nor may he do this

    on_ground(leave)


def test_a_watchdog_that_would_end_the_process_is_called_off() -> None:
    def leave(ground: CleanGround) -> None:
        faulthandler.dump_traceback_later(0.05, exit=True)
        ground.clean()
        began = time.monotonic()
        while time.monotonic() < began + 0.2:
            pass
        assert time.monotonic() - began >= 0.2, "it would have ended this process before"

    on_ground(leave)


def test_a_seed_is_forgotten() -> None:
    def leave(ground: CleanGround) -> None:
        drawn = []
        for _ in range(2):
            random.seed(1)
            ground.clean()
            drawn.append(random.random())
        assert drawn[0] != drawn[1]

    on_ground(leave)


def test_ordinary_work_touches_nothing() -> None:
    def work(ground: CleanGround) -> None:
        async def nothing() -> None:
            await asyncio.sleep(0)

        found: list[Any] = []
        thread = threading.Thread(target=found.append, args=(1,))
        thread.start()
        thread.join()
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        assert not setters.TOUCHED.is_set
        asyncio.run(nothing())
        ground.clean()
        assert ground.spoilt is None

    on_ground(work)


def break_len() -> None:
    builtins.len = lambda _: 0  # type: ignore[assignment,misc]


def break_many() -> None:
    for module, name in ((builtins, "dict"), (builtins, "map"), (builtins, "isinstance"), (json, "dumps")):
        setattr(module, name, None)
    for module, name in (
        (select, "poll"),
        (struct, "pack"),
        (time, "monotonic"),
        (builtins, "zip"),
        (builtins, "getattr"),
    ):
        del module.__dict__[name]


@pytest.mark.parametrize("act", [break_len, break_many])
def test_what_our_own_code_lives_by_is_put_back(act: Act) -> None:
    def child() -> None:
        ground = CleanGround()
        ground.begin()
        act()
        builtins.__dict__["added"] = 1
        ground.clean()
        assert (len([1, 2]), callable(map), callable(isinstance)) == (2, True, True)
        assert time.monotonic() > 0
        assert (builtins.__dict__["added"], ground.spoilt) == (1, None)

    assert in_fork(child) == 0
