"""Settle executions: write their outcome into PostgreSQL, each fenced by the lease that they ran under.

Invariants:
- Only a row that is `running` under the lease changes. What another has taken over stays as it is.
- Every write here may be repeated: the second time it changes nothing. So an unknown outcome is
  resolved by sending the same write again, never by reading first.
- One outcome that PostgreSQL refuses becomes a failure that says so, alone; never its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from taskhub.domain.errors import StatementError
from taskhub.domain.job import COMPLETED
from taskhub.domain.outcome import ERROR_UNSTORABLE, Committed, Completed, Failed, Outcome
from taskhub.store import settlements
from taskhub.store.connection import Store
from taskhub.store.jobs import job_states
from taskhub.store.settlements import completed_arrays, failed_arrays

_Kind = TypeVar("_Kind", Completed, Failed)


class Settled(NamedTuple):
    """What a settlement did.

    statuses: by id, of failures, and of what was settled before. stale: the ids that were lost to others.
    refused: what PostgreSQL does not take in whatever words (a trigger of somebody's); all else is settled.
    """

    statuses: dict[str, str]
    stale: list[str]
    refused: Sequence[Outcome] = ()

    def beside(self, other: Settled) -> Settled:
        """What two settlements did together."""
        return Settled(self.statuses | other.statuses, self.stale + other.stale, [*self.refused, *other.refused])


def settle(store: Store, lease: str, outcomes: Sequence[Outcome]) -> Settled:
    """Settle any outcomes of one lease. Raises StoreUnavailableError: then repeat the very same call."""
    settled = Settled({o.id: COMPLETED for o in outcomes if isinstance(o, Committed)}, [])
    settled = settled.beside(_retry_or_fail(store, lease, [o for o in outcomes if isinstance(o, Failed)]))
    return settled.beside(_complete(store, lease, [o for o in outcomes if isinstance(o, Completed)]))


def _complete(store: Store, lease: str, outcomes: list[Completed]) -> Settled:
    """Complete jobs; a result that PostgreSQL refuses is found by halving the batch."""
    if not outcomes:
        return Settled({}, [])
    try:
        count = settlements.settle_completed(store, completed_arrays(outcomes), lease)
    except StatementError as error:
        if len(outcomes) == 1:
            [outcome] = outcomes
            return _retry_or_fail(store, lease, [Failed.unstorable(outcome.id, error, *outcome[2:])])
        return _by_halves(_complete, store, lease, outcomes)
    return Settled({}, []) if count == len(outcomes) else _found(store, lease, [o.id for o in outcomes])


def _retry_or_fail(store: Store, lease: str, outcomes: list[Failed]) -> Settled:
    """Retry, fail or cancel jobs whose execution failed, with a row of history each; halved as above."""
    if not outcomes:
        return Settled({}, [])
    try:
        statuses = settlements.settle_failures(store, failed_arrays(outcomes), lease)
    except StatementError as error:
        if len(outcomes) > 1:
            return _by_halves(_retry_or_fail, store, lease, outcomes)
        [outcome] = outcomes
        if outcome.type == ERROR_UNSTORABLE:
            return Settled({}, [], [outcome])  # it is not the words
        return _retry_or_fail(store, lease, [outcome.without_its_words(str(error))])
    missing = [o.id for o in outcomes if o.id not in statuses]
    found = _found(store, lease, missing) if missing else Settled({}, [])
    return Settled(statuses, []).beside(found)


def _by_halves(
    settle_some: Callable[[Store, str, list[_Kind]], Settled], store: Store, lease: str, outcomes: list[_Kind]
) -> Settled:
    """Both halves of a batch that was refused as a whole."""
    half = len(outcomes) // 2
    return settle_some(store, lease, outcomes[:half]).beside(settle_some(store, lease, outcomes[half:]))


def _found(store: Store, lease: str, ids: list[str]) -> Settled:
    """Settlements that changed no row: an earlier sending or a transaction had settled it, or the lease was lost."""
    states = {state.id: state.status for state in job_states(store, ids).values() if state.lease == lease}
    return Settled(states, [job_id for job_id in ids if job_id not in states])
