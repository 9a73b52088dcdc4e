"""Send new jobs to PostgreSQL within a deadline, again and again while it is unknown whether they arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from taskhub import clock
from taskhub.domain.errors import BlockedError, StoreUnavailableError
from taskhub.domain.job_view import JobRow
from taskhub.domain.new_job import NewJob
from taskhub.store.connection import Connection, Store
from taskhub.store.jobs import get_jobs
from taskhub.store.queues import ensure_queue

R = TypeVar("R")

_TIME_S = 1.5
_LEAST_S = 0.4
_ROWS_PER_S = 4_000
_BYTES_PER_S = 8 << 20
_LEAST_TRY_S = 0.3
_PAUSE_S = 0.05
_MAX_KNOWN = 10_000
_KNOWN_FOR_S = 10.0


class Insert(Protocol[R]):
    """One of the statements of `store.new_jobs`, and what it tells of each job."""

    def __call__(self, store: Store, jobs: Sequence[NewJob], *, is_repeated: bool, timeout_s: float) -> list[R]: ...


class Deadline(NamedTuple):
    """When an answer is due, on the monotonic clock."""

    at_s: float

    @classmethod
    def of(cls, asked_at_s: float, rows: Sequence[NewJob]) -> Deadline:
        """1.5 s after the question, a little time in any case, and more for many rows or large ones."""
        least_s = clock.monotonic_s() + _LEAST_S
        size_s = len(rows) / _ROWS_PER_S + size_of(rows) / _BYTES_PER_S
        return cls(max(asked_at_s + _TIME_S, least_s) + size_s)

    @property
    def left_s(self) -> float:
        return self.at_s - clock.monotonic_s()

    @property
    def try_s(self) -> float:
        """For one statement: what is left, or so little that it can still be answered."""
        return max(self.left_s, _LEAST_TRY_S)


class Inserter:
    """One connection's inserts; for one thread at a time. is_patient: a row that others block is tried to the end."""

    def __init__(self, store: Connection, *, is_patient: bool = False) -> None:
        self.store = store
        self._is_patient = is_patient
        self._known: set[tuple[str, int]] = set()
        self._known_since_s = float("-inf")

    def insert(
        self, insert: Insert[R], rows: list[NewJob], deadline: Deadline, *, may_be_there: bool = False
    ) -> list[R]:
        """What the statement made of rows, of which some may be there. Raises StoreUnavailableError, StatementError."""
        while True:
            try:
                self._make_known(rows, deadline)
                return insert(self.store, rows, is_repeated=may_be_there, timeout_s=deadline.try_s)
            except StoreUnavailableError as error:
                may_be_there = may_be_there or error.outcome_unknown
                is_blocked = isinstance(error, BlockedError)
                if deadline.left_s < _LEAST_TRY_S or (is_blocked and not self._is_patient):
                    kind = BlockedError if is_blocked else StoreUnavailableError
                    raise kind(str(error), outcome_unknown=may_be_there) from error
                clock.sleep(_PAUSE_S)

    def read(self, ids: list[str], deadline: Deadline) -> dict[str, JobRow]:
        """Those of some jobs that there are, by id."""
        return {row.id: row for row in get_jobs(self.store, ids, timeout_s=deadline.try_s)}

    def close(self) -> None:
        self.store.close()

    def _make_known(self, rows: list[NewJob], deadline: Deadline) -> None:
        """Maintenance looks after a queue and priority from before their first row.

        What was known to one session, or long ago, may not be known to the database that answers now: it may have
        been restored.
        """
        now_s = clock.monotonic_s()
        if not self.store.is_open or now_s - self._known_since_s > _KNOWN_FOR_S or len(self._known) >= _MAX_KNOWN:
            self._known.clear()
            self._known_since_s = now_s
        for place in {(row.queue, row.priority) for row in rows} - self._known:
            ensure_queue(self.store, *place, timeout_s=deadline.try_s)
            self._known.add(place)


def size_of(rows: Sequence[NewJob]) -> int:
    """About how many bytes some rows take."""
    return sum([len(row.payload) for row in rows])
