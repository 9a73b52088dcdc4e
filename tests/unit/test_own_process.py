"""A copy of the process knows that it is one, however it was forked."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable

import pytest

from taskhub.child.own_process import own_process_mark

FORKS: list[Callable[[], int]] = [os.fork, ctypes.CDLL(None).fork]  # the second behind Python's back


def seen_by_a_copy(fork: Callable[[], int], is_own: Callable[[], object]) -> bool:
    """What a forked copy sees."""
    pid = fork()
    if not pid:
        os._exit(1 if is_own() else 0)
    _, status = os.waitpid(pid, 0)
    return bool(os.waitstatus_to_exitcode(status))


@pytest.mark.parametrize("fork", FORKS, ids=["by Python", "by the C library"])
def test_a_copy_is_told_from_the_process_itself(fork: Callable[[], int]) -> None:
    mark = own_process_mark()
    assert mark[0]
    assert not seen_by_a_copy(fork, lambda: mark[0])
    assert mark[0], "the copy's page is its own"


def test_a_kernel_that_cannot_wipe_pages_is_helped_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(mmap.mmap):
        def madvise(self, *_: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Old)
    mark = own_process_mark()
    assert mark[0]
    assert not seen_by_a_copy(os.fork, lambda: mark[0])
