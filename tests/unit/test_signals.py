"""Signals across an exec: a real process that executes another program."""

from __future__ import annotations

import subprocess
import sys

BEFORE = """
import os, signal, sys
from supervisor.signals import Signals

signals = Signals()
signals.install()
os.kill(os.getpid(), signal.SIGTERM)  # noted in the queue, and never looked at
signals.hold_for_next_program()
os.kill(os.getpid(), signal.SIGHUP)  # comes later still
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
AFTER = """
import signal
from supervisor.signals import Signals

signals = Signals()
signals.install()
print(sorted(signal.Signals(number).name for number in signals.wait(5)))
"""


def test_a_signal_that_comes_just_before_an_exec_is_the_next_programs() -> None:
    ended = subprocess.run([sys.executable, "-c", BEFORE, AFTER], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "['SIGHUP', 'SIGTERM']", "")
