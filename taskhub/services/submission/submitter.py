"""Submit jobs: committed in PostgreSQL first, then, best effort, their ids rung in Redis.

Invariants:
- An id is returned only after its row, or the row that its key stands for, was seen to be committed.
- An INSERT of unknown outcome is sent again until the time is over: ids and keys make that harmless.
- A request whose rows PostgreSQL refuses, or that must wait for others' transactions, fails or waits alone.
- Who led a flush rings for all on it, when the others have gone on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from taskhub import clock, failpoints
from taskhub.domain.errors import StatementError, StoreUnavailableError
from taskhub.domain.new_job import CREATED, EXISTING, JOB_REFUSED, NewJob, Submitted
from taskhub.services.submission.alone import Alone, Aside, is_large
from taskhub.services.submission.doorbell import Doorbell
from taskhub.services.submission.group_commit import GroupCommit
from taskhub.services.submission.idempotency import KeyedLane
from taskhub.services.submission.inserter import Deadline, Inserter
from taskhub.services.submission.lanes import Group, PendingSubmission, PlainLane
from taskhub.store.connection import Connection
from taskhub.store.pool import Pool

Connect = Callable[[float, float | None], Connection]  # with a lock time-out and a statement's, None: the usual

_SORTING_LOCK_S = 0.03
_GROUP_LOCK_S = 0.1
_GROUP_STATEMENT_S = 0.6
_PATIENT_LOCK_S = 1.0
_PATIENT_STATEMENT_S = 1.2
_IN_TROUBLE = ("25", "55", "F0", "HV", "XX")  # states, settings, foreign servers, damage: it may be mended


class Submitter:
    """One process's submissions, from any of its threads; make it after fork."""

    def __init__(self, connect: Connect, doorbell: Doorbell, aside: Aside = nullcontext) -> None:
        def inserters(size: int, lock_s: float, statement_s: float | None, kept: int = 0) -> Pool[Inserter]:
            is_patient = lock_s == _PATIENT_LOCK_S
            return Pool(
                lambda: Inserter(connect(lock_s, statement_s), is_patient=is_patient),
                size,
                kept=kept,
                refusal="as many jobs wait for other transactions as may",
            )

        self._doorbell = doorbell
        self._together = inserters(6, _GROUP_LOCK_S, _GROUP_STATEMENT_S, kept=2)
        quick = inserters(3, _SORTING_LOCK_S, _GROUP_STATEMENT_S)
        self._alone = Alone(quick, inserters(4, _PATIENT_LOCK_S, _PATIENT_STATEMENT_S), aside)
        self._large = Alone(inserters(2, _GROUP_LOCK_S, None, kept=1), inserters(2, _PATIENT_LOCK_S, None), aside)
        self._plain, self._keyed = PlainLane(self._together), KeyedLane(self._together)
        self._commits = {lane: GroupCommit(lane) for lane in (self._plain, self._keyed)}

    def submit(self, new_jobs: list[NewJob]) -> list[Submitted]:
        """Commit all of these in one transaction, or none; what became of each. Raises StoreUnavailableError.

        Of those with the same unique_key the first counts, and the others stand for it.
        """
        rows, places = _without_repetitions(new_jobs)
        try:
            results = self._commit(rows) if rows else []
        except StatementError as error:
            results = _refused(rows, error)
        if len(rows) == len(new_jobs):
            return results
        return [_as_of(results[place], new_job) for place, new_job in zip(places, new_jobs, strict=True)]

    def close(self) -> None:
        """Leave the connections, those in use when their submission has ended. The next reconnects."""
        for each in (self._together, self._alone, self._large):
            each.close()
        self._doorbell.close()

    def _commit(self, rows: list[NewJob]) -> list[Submitted]:
        lane = self._keyed if any(row.has_key for row in rows) else self._plain
        pending = PendingSubmission(rows, Deadline.of(clock.monotonic_s(), rows).at_s)
        if is_large(rows):
            return self._commit_alone(self._large, lane, pending)
        if not self._alone.is_for(rows):
            self._ring(self._commits[lane].commit(pending))
            if pending.result is not None:
                return pending.result
            if pending.error is not None:
                raise pending.error
        return self._commit_alone(self._alone, lane, pending)

    def _commit_alone(self, alone: Alone, lane: PlainLane, pending: PendingSubmission) -> list[Submitted]:
        results = alone.commit(lane, pending)
        self._ring([pending])
        return results

    def _ring(self, group: Group) -> None:
        """For those of a flush that this thread has led."""
        if group:
            failpoints.hit("api.after_commit")
            settled = [each for each in group if each.result is not None]
            pairs = [pair for each in settled for pair in zip(each.rows, each.result or (), strict=True)]
            self._doorbell.ring([row for row, submitted in pairs if submitted.kind == CREATED])


def _without_repetitions(new_jobs: list[NewJob]) -> tuple[list[NewJob], list[int]]:
    """Those whose unique_key no earlier one has; and of each, which of those it stands for."""
    rows: list[NewJob] = []
    places: list[int] = []
    by_key: dict[str, int] = {}
    for new_job in new_jobs:
        place = len(rows) if new_job.unique_key is None else by_key.setdefault(new_job.unique_key, len(rows))
        if place == len(rows):
            rows.append(new_job)
        places.append(place)
    return rows, places


def _as_of(submitted: Submitted, new_job: NewJob) -> Submitted:
    """Of one that may be a repetition: it is then not the one that was created."""
    is_repetition = submitted.kind == CREATED and submitted.id != new_job.id
    return Submitted(EXISTING, submitted.id) if is_repetition else submitted


def _refused(rows: list[NewJob], error: StatementError) -> list[Submitted]:
    """What a refused INSERT means for those who asked for it: these rows never go in, or none does now.

    Raises StoreUnavailableError.
    """
    if error.sqlstate.startswith(_IN_TROUBLE):
        raise StoreUnavailableError(f"PostgreSQL refused the job: {error}") from error
    return [Submitted(JOB_REFUSED, row.id, text=f"the database refuses this job: {error}") for row in rows]
