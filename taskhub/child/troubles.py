"""What fails in code of ours is waited out, and charged to no job.

A dependency that is away is waited for, and so is whatever else fails: it ends neither the child nor a job. What
goes on failing once jobs have run here is of their making: then another process takes this one's place. Where none has
run yet, that is tried later, because another process may well meet the same.
"""

from __future__ import annotations

from collections.abc import Callable

from taskhub import clock
from taskhub.child.clean_ground import CleanGround
from taskhub.child.link import SupervisorLink
from taskhub.domain.errors import (
    SchemaOutdatedError,
    SlotClosedError,
    StatementError,
    StoreUnavailableError,
    TaskhubError,
)
from taskhub.logs import get_logger
from taskhub.outage import Outage

log = get_logger(__name__)

_TROUBLES, _UNUSED_TROUBLES = 5, 10  # in a row: a second or two; some ten seconds
_LAST_TROUBLES = 2  # then, to release what is in hand


class Troubles:
    """One child's: of PostgreSQL, and of all else."""

    def __init__(self, link: SupervisorLink, ground: CleanGround) -> None:
        self._link = link
        self._ground = ground
        self._postgres = Outage(log, "postgres.lost", "postgres.back", slot=link.slot)
        self._others = Outage(log, "child.waits", "child.goes_on", slot=link.slot)

    @property
    def are_hopeless(self) -> bool:
        """This process is spoilt so far that nothing of ours works in it any more."""
        return self._others.failures >= self._bearable + _LAST_TROUBLES and self._ground.spoilt is not None

    @property
    def _bearable(self) -> int:
        return _TROUBLES if self._ground.was_used else _UNUSED_TROUBLES

    def wait_out(self, step: Callable[[], None]) -> None:
        """Run a step; wait if it fails. Raises SlotClosedError."""
        try:
            step()
            self._postgres.back()
            self._others.back()
        except SlotClosedError:
            raise
        except (StoreUnavailableError, SchemaOutdatedError, StatementError) as error:
            self.wait(self._postgres.lost(str(error)))
        except BaseException as error:  # noqa: BLE001 (no descriptors, no memory, a bug: the child goes on)
            pause_s = self._others.lost(f"{type(error).__name__}: {error}"[:500], trace=error)
            is_lack = isinstance(error, (OSError, MemoryError, TaskhubError))  # another process would lack it, too
            if self._others.failures >= self._bearable and not is_lack:
                since = "after its jobs" if self._ground.was_used else "before its first job"
                self._ground.spoil(f"{since} the same fails again and again: {type(error).__name__}")
            self.wait(pause_s)

    def repeat(self, step: Callable[[], None]) -> None:
        """Run a step in the middle of a job, whose record stays as it is; wait if it fails, to be called again."""
        try:
            step()
            self._postgres.back()
        except TaskhubError as error:
            clock.sleep(self._postgres.lost(str(error)))
        except BaseException as error:  # noqa: BLE001 (as in wait_out)
            clock.sleep(self._others.lost(f"{type(error).__name__}: {error}"[:500], trace=error))

    def wait(self, pause_s: float) -> None:
        """Sleep, and say so to the supervisor."""
        self._link.waiting()
        clock.sleep(pause_s)
