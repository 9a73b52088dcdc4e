"""What one job does to its whole process does not meet the next: it is undone, or the child is replaced first.

Invariants:
- After a job that has called one of the noticed setters, after every job of more than a millisecond and
  after every batch, everything below is as it was when the child began.
- What cannot be made so again (`spoilt` says what) ends the child, in order, before its next job.
- Left alone: threads, sub-processes, modules and their globals, which people keep on purpose; but not what
  `borrowed` names.
"""

from __future__ import annotations

import locale
import os
import random
import signal
from typing import Any

from taskhub.child.borrowed import Borrowed
from taskhub.child.own_memory import OwnMemory
from taskhub.child.process_state import Thing, copied, open_cwd, set_blindly, stop_timers, things
from taskhub.child.setters import TOUCHED
from taskhub.logs import get_logger

log = get_logger(__name__)

LONG_JOB_S = 0.001


class CleanGround:
    """One child's. `begin` is called in its main thread, once its own signal handlers are in place."""

    def __init__(self, memory: OwnMemory | None = None) -> None:
        self._memory = memory
        self.is_weighed = memory is not None and memory.is_limited
        self.spoilt: str | None = None
        self.job_type = ""  # of the last job that ran here
        self._borrowed = Borrowed()
        self._descriptors: list[int | None] = []
        self._cwd = self._wakeup = -1
        self._umask = 0o077
        self._things: list[Thing] = []
        self._found: list[Any] = []

    def begin(self) -> None:
        """As it is now, so it will be for every job."""
        self._borrowed = Borrowed()
        self._descriptors = [copied(number) for number in range(3)]
        self._cwd = open_cwd()
        self._wakeup = signal.set_wakeup_fd(-1)
        self._umask = os.umask(self._umask)
        self._things = things(self._descriptors, self._cwd)
        self._found = [thing.read() for thing in self._things]
        set_blindly(self._wakeup, self._umask)
        TOUCHED.is_set = TOUCHED.seed = False

    def clean(self) -> None:
        """Make everything as it was when it began."""
        self.put_back()
        stop_timers()
        is_touched = TOUCHED.is_set
        for thing, found in zip(self._things, self._found, strict=True):
            if (is_touched or not thing.is_noticed) and thing.read() != found:
                self._restore(thing, found)
        set_blindly(self._wakeup, self._umask)
        if TOUCHED.seed:
            random.seed()
        TOUCHED.is_set = TOUCHED.seed = False

    def put_back(self) -> None:
        """Before anything else, for nothing of ours works without."""
        if changed := self._borrowed.put_back():
            text = (
                f"a job of type {self.job_type}, or one shortly before it, has replaced {', '.join(changed)}; put back"
            )
            log.warning("ground.put_back", extra={"text": text})

    def weigh(self) -> None:
        """After a job: with more memory than is allowed, the next one, which has not caused it, would be killed."""
        if self._memory is not None and self._memory.is_beyond():
            self.spoil(f"it has more than TASKHUB_HARD_RSS_MB={self._memory.limit_mb} in use after a job")

    @property
    def was_used(self) -> bool:
        """A job has run here."""
        return bool(self.job_type)

    def _restore(self, thing: Thing, found: Any) -> None:
        try:
            thing.restore(found)
            is_clean = thing.read() == found
        except (OSError, ValueError, locale.Error) as error:
            is_clean = False
            log.debug("ground.unrestored", extra={"text": f"{thing.name}: {error}"})
        if not is_clean:
            self.spoil(f"a job has changed the {thing.name} of its process, which cannot be undone")

    def spoil(self, reason: str) -> None:
        """Nothing more may run in this process; the first reason is told."""
        self.spoilt = self.spoilt or reason
