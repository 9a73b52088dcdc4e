"""What a flush that failed means for each whose rows it carried.

- PostgreSQL is away: it is for all of them, and each has an error of its own to raise.
- Anything else may be about one row: each goes alone, in its own thread, so that an error is raised in the thread that
  it concerns, and a row that must wait holds up only itself. Rows that were alone already have found theirs.
- A bug is raised in the leader's thread, where it was met.
"""

from __future__ import annotations

from taskhub.domain.errors import BlockedError, SchemaOutdatedError, StatementError, StoreUnavailableError, TaskhubError
from taskhub.services.submission.group_commit import PendingCommit, R, T


def settle_failed(group: list[PendingCommit[T, R]], error: Exception) -> bool:
    """Settle all whose flush ended with this error, the leader's first. True: it is the leader's own, to be raised."""
    if _is_away(error):
        for pending in group:
            pending.error = StoreUnavailableError(str(error), outcome_unknown=_is_unknown(error))
        return False
    is_leaders = _is_leaders(error, len(group))
    for pending in group[1:] if is_leaders else group:
        pending.was_sent = pending.was_sent or _may_be_there(error)
        pending.goes_alone = not pending.is_settled
    return is_leaders


def _is_away(error: Exception) -> bool:
    """A broken trigger's error may be one row's, and looks like an old schema."""
    return isinstance(error, StoreUnavailableError) and not isinstance(error, (BlockedError, SchemaOutdatedError))


def _is_leaders(error: Exception, number: int) -> bool:
    if isinstance(error, BlockedError):
        return False
    return number == 1 or not isinstance(error, (TaskhubError, MemoryError))


def _may_be_there(error: Exception) -> bool:
    return _is_unknown(error) if isinstance(error, BlockedError) else not isinstance(error, StatementError)


def _is_unknown(error: Exception) -> bool:
    return isinstance(error, StoreUnavailableError) and error.outcome_unknown
