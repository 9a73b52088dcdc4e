"""Failpoints: nothing unless armed; then just what was asked, as often as asked."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time

import pytest

from taskhub import failpoints
from taskhub.failpoints import FailpointError


def exit_status(specification: str) -> int:
    """The wait status of a forked process that hits the point `here`."""
    child = os.fork()
    if child == 0:
        failpoints.arm(specification)
        failpoints.hit("here")
        os._exit(0)
    return os.waitpid(child, os.WUNTRACED)[1]


def test_an_unarmed_point_does_nothing() -> None:
    failpoints.hit("anywhere")
    assert failpoints.value("anywhere") == 0


def test_an_armed_point_raises() -> None:
    failpoints.arm("here=raise;there=raise")
    failpoints.hit("elsewhere")
    with pytest.raises(FailpointError, match="here"):
        failpoints.hit("here")


@pytest.mark.parametrize("name", ["ValueError", "MemoryError", "SystemExit", "RecursionError", "psycopg2.DataError"])
def test_an_armed_point_raises_the_class_that_it_was_asked_for(name: str) -> None:
    failpoints.arm(f"here=raise:{name}*1")
    with pytest.raises(BaseException, match="here") as caught:
        failpoints.hit("he", "re")
    assert name.endswith(type(caught.value).__name__)
    failpoints.hit("here")


def test_an_os_error_says_that_there_are_no_descriptors() -> None:
    failpoints.arm("here=raise:OSError")
    with pytest.raises(OSError, match="Too many open files") as caught:
        failpoints.hit("here")
    assert caught.value.errno == errno.EMFILE


def test_a_hanging_point_does_not_come_back() -> None:
    failpoints.arm("here=hang")
    thread = threading.Thread(target=failpoints.hit, args=("here",), daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()


def test_a_limit_counts_hits() -> None:
    failpoints.arm("here=raise*2")
    for _ in range(2):
        with pytest.raises(FailpointError):
            failpoints.hit("here")
    failpoints.hit("here")


def test_a_limit_counts_the_hits_of_each_process_or_of_all() -> None:
    for limit, statuses in (("*1", [3, 3]), ("**1", [3, 0])):
        failpoints.arm(f"here=exit:3{limit}")
        assert [os.WEXITSTATUS(exit_status(f"here=exit:3{limit}")) for _ in range(2)] == statuses


def test_a_point_can_sleep_and_bear_a_value() -> None:
    failpoints.arm("here=sleep:0.05; clock=value:-600")
    began = time.monotonic()
    failpoints.hit("here")
    failpoints.hit("clock")
    assert time.monotonic() - began >= 0.05
    assert failpoints.value("clock") == -600


def test_arming_again_disarms_the_rest() -> None:
    failpoints.arm("here=raise; clock=value:-600")
    failpoints.arm("clock=value:5")
    failpoints.hit("here")
    assert failpoints.value("clock") == 5


@pytest.mark.parametrize(
    "text",
    ["here", "here=", "here=explode", "here=sleep:long", "here=raise***1", "here=raise:os", "here=raise:No.Such"],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        failpoints.arm(text)


def test_kill_and_exit_end_the_process() -> None:
    assert os.WTERMSIG(exit_status("here=kill")) == signal.SIGKILL
    assert os.WEXITSTATUS(exit_status("here=exit:3")) == 3
    assert exit_status("there=kill") == 0


def test_stop_freezes_the_process() -> None:
    child = os.fork()
    if child == 0:
        failpoints.arm("here=stop")
        failpoints.hit("here")
        os._exit(7)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    os.kill(child, signal.SIGCONT)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
