"""Settle executions: write their outcome into PostgreSQL, each fenced by the lease that they ran under.

Invariants:
- Only a row that is `running` under the lease changes. What another has taken over stays as it is.
- Every write here may be repeated: the second time it changes nothing. So an unknown outcome is
  resolved by sending the same write again, never by reading first.
- One outcome that PostgreSQL cannot store fails alone (`result_unstorable`), never its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskhub import clock
from taskhub.domain.errors import StatementError
from taskhub.domain.job import RESULT_UNSTORABLE
from taskhub.domain.outcome import Completed, Failed, Outcome
from taskhub.store.connection import Connection
from taskhub.store.statements import number_array, text_array, uuid_array

_MESSAGE_BYTES = 8 * 1024


class Settled(NamedTuple):
    """What a settlement did: the status by id (of failures, and of what was settled before), the ids that were lost."""

    statuses: dict[str, str]
    stale: list[str]


class CompletedArrays(NamedTuple):
    """Completed executions as the array literals that the statements take."""

    ids: str
    results: str
    started_ago: str
    finished_ago: str


NONE_COMPLETED = CompletedArrays("{}", "{}", "{}", "{}")


def completed_arrays(outcomes: Sequence[Completed]) -> CompletedArrays:
    """Array literals; times become how long ago they were by this host's clock."""
    if not outcomes:
        return NONE_COMPLETED
    now = clock.boottime_s()
    ids, results, started, finished = zip(*outcomes, strict=True)
    return CompletedArrays(
        uuid_array(list(ids)),
        text_array(list(results)),
        number_array([now - at for at in started]),
        number_array([now - at for at in finished]),
    )


def settle(store: Connection, lease: str, outcomes: Sequence[Outcome]) -> Settled:
    """Settle any outcomes of one lease. Raises StoreUnavailableError: then repeat the very same call."""
    statuses, stale = settle_failed(store, lease, [o for o in outcomes if isinstance(o, Failed)])
    done = settle_completed(store, lease, [o for o in outcomes if isinstance(o, Completed)])
    return Settled(statuses | done.statuses, stale + done.stale)


def settle_completed(store: Connection, lease: str, outcomes: list[Completed]) -> Settled:
    """Complete jobs; a result that PostgreSQL refuses is found by halving the batch."""
    if not outcomes:
        return Settled({}, [])
    try:
        [(count,)] = store.run("settle_completed", *completed_arrays(outcomes), lease)
    except StatementError as error:
        if len(outcomes) == 1:
            return settle_failed(store, lease, [unstorable(outcomes[0], str(error))])
        half = len(outcomes) // 2
        first = settle_completed(store, lease, outcomes[:half])
        second = settle_completed(store, lease, outcomes[half:])
        return Settled(first.statuses | second.statuses, first.stale + second.stale)
    return Settled({}, []) if count == len(outcomes) else _found(store, lease, [o.id for o in outcomes])


def settle_failed(store: Connection, lease: str, outcomes: list[Failed]) -> Settled:
    """Retry, fail or cancel jobs whose execution failed, with a row of history each."""
    if not outcomes:
        return Settled({}, [])
    now = clock.boottime_s()
    rows = store.run(
        "settle_failures",
        uuid_array([o.id for o in outcomes]),
        number_array([now - o.started_s for o in outcomes]),
        text_array([storable(o.type) for o in outcomes]),
        text_array([storable(o.message) for o in outcomes]),
        text_array([o.cause for o in outcomes]),
        number_array([o.retry_in_s for o in outcomes]),
        text_array([o.reason for o in outcomes]),
        number_array([o.peak_rss_mb for o in outcomes]),
        lease,
    )
    statuses: dict[str, str] = dict(rows)
    missing = [o.id for o in outcomes if o.id not in statuses]
    found = _found(store, lease, missing) if missing else Settled({}, [])
    return Settled(statuses | found.statuses, found.stale)


def _found(store: Connection, lease: str, ids: list[str]) -> Settled:
    """Settlements that changed no row: an earlier sending or a transaction had settled it, or the lease was lost."""
    states = {row[0]: row[1] for row in store.run("job_states", uuid_array(ids)) if row[2] == lease}
    return Settled(states, [job_id for job_id in ids if job_id not in states])


def unstorable(outcome: Completed, why: str) -> Failed:
    """The failure of a job whose result cannot be kept."""
    message = storable(f"the result cannot be stored: {why}")
    times = (outcome.started_s, outcome.finished_s)
    return Failed(outcome.id, "ResultUnstorable", message, "exception", None, RESULT_UNSTORABLE, *times)


def storable(text: str) -> str:
    """Any text as PostgreSQL can keep it: no NUL, no lone surrogate, at most 8 KiB."""
    clean = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace")
    return clean[:_MESSAGE_BYTES].decode("utf-8", "ignore")
