"""Send rows to PostgreSQL within a deadline, again and again while it is unknown whether they arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskhub import clock
from taskhub.domain.errors import BlockedError, StatementError, StoreUnavailableError
from taskhub.domain.job_view import JobRow
from taskhub.domain.new_job import InsertedTimes, NewJob
from taskhub.store.connection import Connection, Row
from taskhub.store.statements import number_array, text_array, uuid_array

KEYS_KEPT_S = 86_400.0
DROPPED = "a trigger dropped its row"

_TIME_S = 1.5
_LEAST_S = 0.4
_ROWS_PER_S = 4_000
_BYTES_PER_S = 8 << 20
_LEAST_TRY_S = 0.3
_PAUSE_S = 0.05
_MAX_KNOWN = 10_000
_KNOWN_FOR_S = 10.0


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


class KeyedOutcome(NamedTuple):
    """What the INSERT made of a row with keys: its times, or None; was its idempotency key new?"""

    times: InsertedTimes | None
    is_first: bool


class Inserter:
    """One connection's inserts; for one thread at a time. is_patient: a row that others block is tried to the end."""

    def __init__(self, store: Connection, *, is_patient: bool = False) -> None:
        self.store = store
        self._is_patient = is_patient
        self._known: set[tuple[str, int]] = set()
        self._known_since_s = float("-inf")

    def insert(self, rows: list[NewJob], deadline: Deadline, *, may_be_there: bool = False) -> dict[str, InsertedTimes]:
        """Insert rows without keys; the times of each. Raises StoreUnavailableError, StatementError."""
        answer = self._send("insert_jobs", rows, [], deadline, may_be_there)
        times = {row[0]: InsertedTimes(*row[1:]) for row in answer}
        if len(times) < len(rows):  # inserted by an earlier sending whose answer was lost
            for found in read_jobs(self.store, [row.id for row in rows if row.id not in times], deadline):
                times[found.id] = InsertedTimes(found.created_at, found.run_at, found.expires_at)
        if len(times) < len(rows):
            raise StatementError(DROPPED, "")
        return times

    def insert_keyed(
        self, rows: list[NewJob], deadline: Deadline, *, may_be_there: bool = False
    ) -> dict[str, KeyedOutcome]:
        """Insert rows with keys, no key twice; says of each what became of it."""
        answer = self._send("insert_keyed_jobs", rows, _keys(rows), deadline, may_be_there)
        return {
            row_id: KeyedOutcome(InsertedTimes(created, run_at, expires) if created else None, bool(is_first))
            for row_id, is_first, created, run_at, expires in answer
        }

    def close(self) -> None:
        self.store.close()

    def _send(
        self, name: str, rows: list[NewJob], keys: list[object], deadline: Deadline, may_be_there: bool
    ) -> list[Row]:
        while True:
            try:
                self._make_known(rows, deadline)
                arguments = _arguments(rows, is_repeated=may_be_there)
                return self.store.run(name, *arguments, *keys, timeout_s=max(deadline.left_s, _LEAST_TRY_S))
            except StoreUnavailableError as error:
                may_be_there = may_be_there or error.outcome_unknown
                is_blocked = isinstance(error, BlockedError)
                if deadline.left_s < _LEAST_TRY_S or (is_blocked and not self._is_patient):
                    kind = BlockedError if is_blocked else StoreUnavailableError
                    raise kind(str(error), outcome_unknown=may_be_there) from error
                clock.sleep(_PAUSE_S)

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
            self.store.run("ensure_queue", *place, timeout_s=max(deadline.left_s, _LEAST_TRY_S))
            self._known.add(place)


def size_of(rows: Sequence[NewJob]) -> int:
    """About how many bytes some rows take."""
    return sum([len(row.payload) for row in rows])


def read_jobs(store: Connection, ids: list[str], deadline: Deadline) -> list[JobRow]:
    """Those of some jobs that there are."""
    rows = store.run("get_jobs", uuid_array(ids), timeout_s=max(deadline.left_s, _LEAST_TRY_S))
    return [JobRow._make(row) for row in rows]


def _arguments(rows: list[NewJob], *, is_repeated: bool) -> list[object]:
    """The arrays of `insert_jobs`. Rows that may be there already get a run_at, by which they are found in any case."""
    (
        ids,
        queues,
        types,
        priorities,
        payloads,
        max_attempts,
        timeouts,
        delays,
        run_at,
        expires_at,
        unique_keys,
        tags,
        *_,
    ) = zip(*rows, strict=True)
    if is_repeated:
        delays = tuple(0.0 if not row.waits else row.delay_s for row in rows)
    return [
        uuid_array(list(ids)),
        _names(queues),
        _names(types),
        number_array(list(priorities)),
        text_array(list(payloads)),
        number_array(list(max_attempts)),
        number_array(list(timeouts)),
        number_array(list(delays)),
        "{}",  # expires_in
        text_array(list(unique_keys)),
        text_array([text_array(list(each)) if each else "{}" for each in tags]),
        text_array(list(run_at)),
        text_array(list(expires_at)),
    ]


def _names(names: Sequence[str]) -> str:
    """An array literal of names: these hold nothing to escape."""
    return '{"' + '","'.join(names) + '"}'


def _keys(rows: list[NewJob]) -> list[object]:
    return [
        text_array([row.idempotency_key for row in rows]),
        text_array([row.fingerprint for row in rows]),
        KEYS_KEPT_S,
    ]
