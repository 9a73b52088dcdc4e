"""`job.transaction()` and `job.complete(cursor)`: the handler's own SQL and the job's completion in one commit.

    unused --enter--> open --exit--> completed            after an error inside: rolled back, unused again
      |                  '--the commit's answer is lost--> doubtful --asked--> completed, or unused again
      '--complete(cursor)--> theirs --asked after the handler--> completed, or unused again

Invariants:
- A commit that PostgreSQL refuses is an exception inside the handler, like any other: charged once.
- What becomes of a commit in doubt is asked of PostgreSQL on a connection of its own, once the transaction has
  ended: it holds the job's row until then. Nothing is written to find out.
- A soft time-out or a cancellation is raised in the handler's code only, never in ours. Whatever is left open when
  the handler is over is rolled back.
- Only the thread and the process that run the handler may use it.
"""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from taskhub import clock, failpoints
from taskhub.domain.backoff import reconnect_delay_s
from taskhub.domain.errors import (
    LeaseLostError,
    StoreUnavailableError,
    TaskhubError,
    TransactionLostError,
    TransactionStateError,
)
from taskhub.domain.job import COMPLETED, RUNNING
from taskhub.domain.outcome import Committed, Completed, Failed, Fate, Outcome
from taskhub.store.connection import Connection
from taskhub.store.jobs import job_states
from taskhub.store.settlements import ended_commit
from taskhub.store.transaction import HandlerSession, complete_with

_LEFT_OPEN = "TransactionLeftOpen"
_GRACE_S = 2.0  # beyond the job's time, for the commit
_THEIRS_ENDS_WITHIN_S = 1.0  # a transaction of the handler's own that is still open after it was forgotten


class State(enum.Enum):
    """Where a job's transaction stands; the text is what a use out of turn is told."""

    UNUSED = "nothing has begun"
    OPEN = "a transaction of this job is open already"
    COMPLETED = "this job is already completed"
    DOUBTFUL = "it is not known yet whether this job is completed: the answer to its commit was lost"
    THEIRS = "this job is being completed by job.complete(cursor)"


class Interruptible(Protocol):
    """What may cut the running job short."""

    def held_off(self) -> AbstractContextManager[None]: ...
    def are_due(self) -> bool: ...
    def are_here(self) -> bool: ...
    def left_s(self) -> float: ...


class CompletingTransaction:
    """The transaction of one execution of one job; a context manager that gives a cursor."""

    def __init__(
        self, session: HandlerSession, doubts: Connection, interrupts: Interruptible, job_id: str, lease: str
    ) -> None:
        self._session = session
        self._doubts = doubts
        self._interrupts = interrupts
        self._job_id = job_id
        self._lease = lease
        self._state = State.UNUSED

    def __enter__(self) -> Any:
        self._require(State.UNUSED)
        with self._interrupts.held_off():
            cursor = self._begin()
            self._state = State.OPEN
        return cursor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._require(State.OPEN)
        with self._interrupts.held_off():
            if error is None:
                self._complete()
                return
            is_lost = self._session.was_lost_by(error)
            self._undo()
        if is_lost:
            raise TransactionLostError(f"PostgreSQL went away in the transaction: {error}") from error

    def complete(self, cursor: Any) -> None:
        """Complete the job in the handler's own transaction. Raises LeaseLostError."""
        if self._state is not State.THEIRS:  # again, after a rollback, is fine
            self._require(State.UNUSED)
        with self._interrupts.held_off():
            if not complete_with(cursor, self._job_id, self._lease):
                raise LeaseLostError(f"job {self._job_id} is no longer this worker's")
            self._state = State.THEIRS

    @property
    def must_ask(self) -> bool:
        """True if only PostgreSQL knows whether the job is completed."""
        return self._state in (State.DOUBTFUL, State.THEIRS)

    @property
    def is_open(self) -> bool:
        """True if the handler left a transaction of its own open, in which the job is completed."""
        return self._state is State.THEIRS

    def conclude(self, outcome: Outcome, fate: Fate) -> Outcome:
        """What the execution's outcome is, in the light of this transaction; `outcome` is that of the handler alone.

        `fate` is that of a job whose handler left it open. Waits while PostgreSQL is away, if it must be asked.
        """
        span = (outcome.started_s, outcome.finished_s, None)
        if self._state is State.OPEN:
            self._undo()
            text = "the handler returned in the midst of job.transaction(); it was rolled back"
            return Failed.told(outcome.id, _LEFT_OPEN, text, fate, span) if isinstance(outcome, Completed) else outcome
        if self.must_ask:
            self._ask_until_known()
        if self._state is State.THEIRS:
            text = "the handler neither committed nor rolled back after job.complete(cursor)"
            return Failed.told(outcome.id, _LEFT_OPEN, text, fate, span)
        return Committed.of(outcome.id, *span[:2]) if self._state is State.COMPLETED else outcome

    def _begin(self) -> Any:
        """Wait while PostgreSQL is away: that is not the handler's fault. Its time is not all spent on it, though."""
        failures = 0
        while True:
            try:
                return self._session.begin(max(0.0, self._interrupts.left_s()) + _GRACE_S)
            except StoreUnavailableError as error:
                failures += 1
                if self._interrupts.are_due():
                    raise TransactionLostError(f"no transaction could begin in the job's time: {error}") from error
                clock.sleep(reconnect_delay_s(failures, 0.1, 1.0))

    def _complete(self) -> None:
        limit_s = max(0.0, self._interrupts.left_s()) + _GRACE_S
        try:
            if not self._session.complete(self._job_id, self._lease, limit_s):
                raise LeaseLostError(f"job {self._job_id} is no longer this worker's")
            failpoints.hit("worker.before_commit")
            self._session.commit()
        except TransactionLostError as error:
            self._session.close()
            self._state = State.DOUBTFUL
            self._resolve(error)
        except BaseException:
            self._undo()
            raise
        else:
            self._state = State.COMPLETED

    def _resolve(self, error: TransactionLostError) -> None:
        """The commit in doubt, for as long as the job has time."""
        failures = 0
        while not self._ask():
            failures += 1
            if self._interrupts.are_due():
                raise error
            clock.sleep(reconnect_delay_s(failures, 0.1, 1.0))
        if self._state is not State.COMPLETED:
            raise error

    def _ask_until_known(self) -> None:
        """However long PostgreSQL is away; but not for ever for a transaction that only the handler can end."""
        failures, gives_up_s = 0, clock.monotonic_s() + _THEIRS_ENDS_WITHIN_S
        while not self._ask():
            failures += 1
            if self._state is State.THEIRS and self._doubts.is_open and clock.monotonic_s() > gives_up_s:
                return
            clock.sleep(reconnect_delay_s(failures, 0.1, 2.0))

    def _ask(self) -> bool:
        """Ask once whether the job is completed; False: not known yet."""
        try:
            ended = ended_commit(self._doubts, self._job_id, self._lease)
            state = job_states(self._doubts, [self._job_id]).get(self._job_id)
        except TaskhubError:  # away, locked, altered: it is asked again
            self._doubts.close()
            return False
        status = state.status if state is not None and state.lease == self._lease else None
        if not ended and status == RUNNING:
            return False  # held by the transaction
        self._doubts.close()
        self._state = State.COMPLETED if status == COMPLETED else State.UNUSED
        return True

    def _undo(self) -> None:
        self._session.rollback()
        self._state = State.UNUSED

    def _require(self, state: State) -> None:
        if not self._interrupts.are_here():
            raise TransactionStateError(
                "a job's transaction belongs to the thread and the process that run its handler"
            )
        if self._state is not state:
            raise TransactionStateError(self._state.value)
