"""Send a claim of known ids to PostgreSQL until its answer is known; one claim at a time.

    none --begin--> pending --sent--> in doubt --forget, once its answer is dealt with--> none
                       ^                 |
                       '-----------------'  it is certain that it was not carried out

Invariants:
- A claim in doubt is sent again as it is, with the same lease: rows that it already got count as got. Only from one
  that is not in doubt may ids be left out: the slot must name every row that it has got.
- A claim in doubt that cannot be sent again, for somebody has locked a row of it, ends its slot: the rescue gives
  back what it got.
- A row that somebody's transaction holds locked is left out of its batch: it waits for that, and nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskhub import clock, ids
from taskhub.domain.errors import BlockedError, SlotClosedError, StatementError, StoreUnavailableError
from taskhub.domain.job import MAX_BATCH_BYTES, WorkerSlot
from taskhub.store.claims import ClaimAnswer, filter_locked, settle_and_claim
from taskhub.store.connection import Connection
from taskhub.store.settlements import CompletedArrays

_SENDINGS = 3
_SENDINGS_S = 2.0  # no sending begins later: a server that does not answer is waited for by the caller
_LOOKS_FOR_S = 10.0  # after a batch was held up by a locked row, each is looked at before it is claimed
_NOT_A_UUID = "22P02"


@dataclass
class PendingClaim:
    """Ids that are to be claimed under a lease."""

    queue: str
    ids: list[str]
    lease: str
    is_in_doubt: bool = False


class ClaimSender:
    """One child's, over its own connection."""

    def __init__(self, store: Connection, slot: WorkerSlot) -> None:
        self._store = store
        self._slot = slot
        self._looks_until = 0.0
        self.pending: PendingClaim | None = None

    def begin(self, queue: str, job_ids: list[str]) -> PendingClaim:
        """These ids are claimed from now on, until the claim is forgotten."""
        self.pending = PendingClaim(queue, job_ids, ids.new_token())
        return self.pending

    def forget(self) -> None:
        """It is dealt with."""
        self.pending = None

    def send(self, claim: PendingClaim, completed: CompletedArrays, slot_lease: str | None) -> ClaimAnswer:
        """One round trip, if all goes well; `completed` is settled by it.

        Raises StoreUnavailableError, after which the claim is still pending; StatementError, after which it is
        forgotten, because nothing happened; SlotClosedError.
        """
        if clock.monotonic_s() < self._looks_until:
            self._leave_out_locked(claim)
        until_s = clock.monotonic_s() + _SENDINGS_S
        for sending in range(1, _SENDINGS + 1):
            try:
                return self._send_once(claim, completed, slot_lease)
            except StatementError as error:
                if error.sqlstate != _NOT_A_UUID or completed.ids != "{}":
                    self.forget()
                    raise
                claim.ids = [job_id for job_id in claim.ids if ids.is_id(job_id)]  # somebody's junk in the list
            except StoreUnavailableError as error:
                if sending == _SENDINGS or clock.monotonic_s() > until_s:
                    raise
                if isinstance(error, BlockedError):
                    self._leave_out_locked(claim)
        raise StoreUnavailableError("Redis handed out ids that are not job ids again and again")

    def _send_once(self, claim: PendingClaim, completed: CompletedArrays, slot_lease: str | None) -> ClaimAnswer:
        was_in_doubt, claim.is_in_doubt = claim.is_in_doubt, True
        try:
            return settle_and_claim(
                self._store, completed, slot_lease, self._slot, claim.queue, claim.ids, claim.lease, MAX_BATCH_BYTES
            )
        except StatementError:
            claim.is_in_doubt = was_in_doubt
            raise
        except StoreUnavailableError as error:
            if not error.outcome_unknown:
                claim.is_in_doubt = was_in_doubt
                if isinstance(error, BlockedError) and was_in_doubt:
                    raise SlotClosedError(f"it is not known whether a claim was carried out: {error}") from error
            raise

    def _leave_out_locked(self, claim: PendingClaim) -> None:
        """What is left out is found again, as one whose push was lost."""
        if claim.is_in_doubt:
            return
        locked = filter_locked(self._store, [job_id for job_id in claim.ids if ids.is_id(job_id)])
        if locked:
            self._looks_until = clock.monotonic_s() + _LOOKS_FOR_S
        claim.ids = [job_id for job_id in claim.ids if job_id not in locked]
