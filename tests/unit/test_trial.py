"""Handler modules on trial: what each leaves behind when it is imported, and what ends the trial."""

from __future__ import annotations

import faulthandler
import gc
import io
import logging
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from supervisor import boot
from supervisor.processes import reap, restore_child_state, spawn
from supervisor.signals import Signals
from supervisor.trial import Trial, Verdict
from taskhub import clock
from taskhub.handlers import import_check
from taskhub.handlers.import_check import Report
from taskhub.settings.fields import Settings
from tests.waiting import wait_until

Try = Callable[..., Verdict]
_numbers = count()

LEAVING = {
    "import socket; s = socket.socket()": "opens a socket",
    "import socket; s = socket.socketpair()": "opens a socket",
    "import os; os.pipe()": "opens a pipe",
    "import select; e = select.epoll()": "opens an epoll",
    "import os; os.memfd_create('x')": "opens a file in memory",
    "import os, ctypes; ctypes.CDLL(None).eventfd(0, 0)": "opens an eventfd",
    "import os, ctypes; ctypes.CDLL(None).timerfd_create(1, 0)": "opens a timerfd",
    "import os, ctypes; ctypes.CDLL(None).inotify_init()": "opens an inotify",
    "log = open(__file__)": "opens the file ",
    "import sqlite3; s = sqlite3.connect(__file__ + '.db'); s.execute('CREATE TABLE t (n)')": "opens the file ",
    "import logging; logging.getLogger('x').addHandler(logging.FileHandler(__file__ + '.log'))": "opens the file ",
    "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()": "starts a thread (Thread",
    "import _thread, time; _thread.start_new_thread(time.sleep, (60,))": "starts a thread (native)",
    "import mmap; m = mmap.mmap(-1, 4096)": "maps shared memory",
    "import multiprocessing as m; v = m.get_context('fork').Value('i')": "maps shared memory",
    "import signal; signal.signal(signal.SIGTERM, lambda *_: None)": "changes signal handlers",
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})": "changes the signal mask",
    "import signal; signal.setitimer(signal.ITIMER_REAL, 60)": "changes timers",
    "import os; os.chdir('/')": "changes the working directory",
    "import os; os.umask(0o77)": "changes the umask",
    "import resource as r; n, m = r.getrlimit(7); r.setrlimit(7, (n - 1, m))": "changes resource limits",
    "import sys, io; sys.stdout = io.StringIO()": "changes sys.stdout",
    "import sys; sys.setswitchinterval(1)": "changes the interpreter's switch interval",
}
LEAVING_ALONE = {  # each in a trial of its own
    "import subprocess; p = subprocess.Popen(['sleep', '60'])": "starts a sub-process",
    "import multiprocessing as m; p = m.get_context('fork').Pool(1)": "starts a sub-process",
    "import os; os.closerange(0, 256)": "closes a descriptor that is not its own",
}
HARMLESS = (
    "import random; r = random.Random(1)",
    "import socket; socket.socket().close()",
    "nothing = open('/dev/null'); chance = open('/dev/urandom', 'rb')",
    "import threading; t = threading.Thread(target=int); t.start(); t.join()",
    "import subprocess; subprocess.run(['true'])",
    "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "import json, decimal, sqlite3; LOCK = __import__('threading').Lock()",
)
ENDING = {
    "import os; os._exit(0)": "it ended with exit:0",
    "import os; os.abort()": "it ended with signal:SIGABRT",
    "import os; os.kill(os.getpid(), 9)": "it ended with signal:SIGKILL",
    "import ctypes; ctypes.string_at(0)": "it ended with signal:SIGSEGV",
    "raise SystemExit(3)": "SystemExit: 3",
    "import nothing_of_this_name": "No module named 'nothing_of_this_name'",
    "while True: pass": "the trial took longer than 3 s",
    "from taskhub import handler\n@handler('a')\nasync def a(job): ...": "write a plain function",
}


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Try:
    """Imports modules of these lines in a process that is thrown away."""
    monkeypatch.syspath_prepend(tmp_path)

    def run(*sources: str, limit_s: float = 30.0) -> Verdict:
        names = [f"tried_{os.getpid()}_{next(_numbers)}" for _ in sources]
        for name, source in zip(names, sources, strict=True):
            (tmp_path / f"{name}.py").write_text(source)
        signals = Signals()

        def run_trial(report: int) -> int:
            gc.freeze()  # the test runner's own heap is large
            faulthandler.disable()  # the test runner's: its word of a crash is meant for its own crashes
            return import_check.run(names, report)

        def start(_output: int, report: int) -> int:
            return spawn(lambda: run_trial(report), signals)

        attempt = Trial(start, limit_s, clock.monotonic_s(), wanted=import_check.WELL)
        return wait_until(lambda: attempt.verdict(clock.monotonic_s()), limit_s + 5, "the trial ends")

    return run


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the test's other threads are not wanted


@pytest.mark.parametrize("sources", [LEAVING, *({key: told} for key, told in LEAVING_ALONE.items())])
def test_what_a_module_leaves_behind_is_told_with_its_name(tried: Try, sources: dict[str, str]) -> None:
    verdict = tried(*sources)
    assert verdict.reason == ""
    found = Report.read(verdict.report).left_behind
    assert len(found) == len(sources)
    for (module, left), told in zip(found, sources.values(), strict=True):
        assert module.startswith("tried_")
        assert [text for text in left if text.startswith(told)], (told, left)


def test_what_can_be_shared_is_no_reason(tried: Try) -> None:
    verdict = tried(*HARMLESS)
    report = Report.read(verdict.report)
    assert (verdict.reason, report.left_behind) == ("", ())
    assert ("default", "echo") in report.types


@pytest.mark.parametrize(("source", "told"), ENDING.items(), ids=[*map(str, range(len(ENDING)))])
def test_a_module_that_ends_the_trial_is_named_with_the_reason(tried: Try, source: str, told: str) -> None:
    verdict = tried(source, limit_s=3.0 if "while" in source else 30.0)
    assert told in verdict.reason
    assert "tried_" in verdict.reason or "handler 'a'" in verdict.reason


def test_a_module_that_forks_makes_no_second_trial(tried: Try) -> None:
    verdict = tried("import os\nif os.fork(): os.wait()")
    assert verdict.reason == ""
    assert len(verdict.report.splitlines()) == 3


def test_a_thousand_handlers_fit_into_the_report(tried: Try) -> None:
    verdict = tried("from taskhub import handler\nfor n in range(1000): handler(f'type.{n:058}')(lambda job: 1)")
    assert len(Report.read(verdict.report).types) >= 1000


def test_a_report_that_is_not_whole_is_not_believed() -> None:
    with pytest.raises(ValueError, match="not whole"):
        Report.read(b'{"module": "a", "seconds": 1, "left": []}\n')


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["none", "text in memory"])
def test_a_child_goes_on_whatever_a_module_has_made_of_the_streams(stream: io.StringIO | None) -> None:
    def run() -> int:
        sys.stdout = sys.stderr = stream  # type: ignore[assignment]
        restore_child_state()
        return import_check.WELL

    child = spawn(run, Signals())
    ended = wait_until(lambda: reap(child), 10, "it ends")
    assert os.waitstatus_to_exitcode(ended.status) == import_check.WELL


def test_a_start_that_waits_long_for_an_import_names_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(boot, "_LONG_S", 0.5)
    (tmp_path / "tried_slow.py").write_text("import time; time.sleep(30)")
    servers = {"TASKHUB_DATABASE_URL": "postgresql://127.0.0.1/x", "TASKHUB_REDIS_URL": "redis://127.0.0.1/0"}
    limit = {"TASKHUB_ENV": "test", "TASKHUB_INTERNAL_IMPORT_S": "2"}
    settings = Settings.load({**servers, **limit, "TASKHUB_HANDLERS": "tried_slow"})
    with caplog.at_level(logging.WARNING):
        assert boot.try_handlers(settings, Signals()) is None
    told = [record.message for record in caplog.records if record.message.startswith("handlers.slow")]
    assert len(told) == 1
    assert "still importing handler module" in told[0]
