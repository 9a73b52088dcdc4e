"""One child's life: claim a batch, run it, settle it with the next claim, and so on until it is told to leave.

When there is nothing, it settles, acknowledges, and waits for a bell. Nothing but an order, its limit of
jobs, or what its own jobs have done to it ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskhub.child.batch_run import BatchRun
from taskhub.child.link import SupervisorLink
from taskhub.child.next_batch import NextBatch
from taskhub.child.settling import Settler
from taskhub.child.troubles import Troubles
from taskhub.domain.errors import SlotClosedError
from taskhub.logs import get_logger
from taskhub.services.execution.claim_result import Jobs, NothingClaimed

log = get_logger(__name__)

LEFT_IN_ORDER = 0
LEFT_LOCKED = 72  # exit status: a job has left a transaction open that only the end of this process ends
LEFT_BROKEN = 75  # exit status, "try later": nothing of ours works here any more, not even giving back what is in hand
SLOT_WAS_CLOSED = 71  # exit status: a rescuer closed this slot; whatever was in hand is its business
_REST_S = 0.1  # between two looks while nothing may be started


@dataclass(frozen=True)
class ChildLimits:
    """The longest wait for a bell, in seconds, and how many jobs one child runs; None: any number."""

    block_s: float
    max_jobs: int | None


class ChildLoop:
    """Runs in the child's main thread; `run` returns the exit status."""

    def __init__(
        self,
        link: SupervisorLink,
        next_batch: NextBatch,
        batch_run: BatchRun,
        settler: Settler,
        troubles: Troubles,
        limits: ChildLimits,
    ) -> None:
        self._link = link
        self._next_batch = next_batch
        self._batch_run = batch_run
        self._settler = settler
        self._troubles = troubles
        self._limits = limits

    def run(self) -> int:
        """Claim and run jobs until unwanted; returns the exit status for this process. Nothing else ends it."""
        try:
            while self._is_wanted():
                self._troubles.wait_out(self._turn)
            while self._settler.batch.is_held and not self._batch_run.must_leave:
                if self._troubles.are_hopeless:
                    log.warning("child.broken", extra={"text": f"{self._batch_run.spoilt}; leaving what was in hand"})
                    return LEFT_BROKEN  # others settle the journal and release the rest
                self._troubles.wait_out(self._batch_run.finish)
        except SlotClosedError as error:
            self._settler.abandon()
            log.warning("child.fenced", extra={"text": f"{error}; leaving what was in hand to the rescue"})
            return SLOT_WAS_CLOSED
        if self._batch_run.must_leave:  # the journal is settled by others, once this process and its locks are gone
            log.warning("child.locked", extra={"text": "a job left a transaction of its own open; leaving, to end it"})
            return LEFT_LOCKED
        self._link.clear_notes()
        self._troubles.wait_out(self._say_goodbye)
        self._link.leaving()
        if self._batch_run.spoilt:
            log.info("child.recycled", extra={"slot": self._link.slot, "text": self._batch_run.spoilt})
        return LEFT_IN_ORDER

    def _is_wanted(self) -> bool:
        if self._batch_run.spoilt is not None or self._batch_run.must_leave:
            return False
        return self._link.is_wanted() and self._link.has_supervisor() and self._jobs_left() != 0

    def _turn(self) -> None:
        """One batch, or one wait."""
        if self._link.is_quiet() or not self._link.may_start():
            self._rest()
            return
        self._link.idle()
        self._batch_run.prepare()
        match self._next_batch.claim(self._jobs_left()):
            case Jobs():
                self._next_batch.learn(*self._batch_run.run())
            case NothingClaimed():
                self._wait_for_bell()

    def _jobs_left(self) -> int | None:
        """How many more this child may run; None: any number."""
        most = self._limits.max_jobs
        return max(0, most - self._batch_run.jobs_run) if most else None

    def _rest(self) -> None:
        """Nothing may be started now: settle, and look again soon."""
        with self._settler.lock:
            self._settler.settle_all()
            self._link.clear_notes()
        self._troubles.wait(min(_REST_S, self._limits.block_s))

    def _wait_for_bell(self) -> None:
        self._link.clear_notes()
        self._say_goodbye()
        self._settler.batch.forget()
        self._link.idle()
        self._next_batch.wait_for_bell(self._limits.block_s)

    def _say_goodbye(self) -> None:
        """To Redis and to whoever counts: nothing is in hand."""
        self._next_batch.acknowledge()
        with self._settler.lock:  # the helper thread counts as well
            self._settler.teller.flush()
