"""Help a living child from outside while its handler holds the interpreter.

A handler that holds the interpreter in C stops the child's own helper thread too. So its finished
neighbours are settled from the journal, and what it has not begun is given back. The child is told first
(`revoke`): it looks at that word after it has announced a job and before it runs it, and this side looks
at the announcement after a pause, so a job is never both given back and begun.
"""

from __future__ import annotations

from taskhub import clock
from taskhub.broker.broker import Broker
from taskhub.domain.errors import BrokerUnavailableError
from taskhub.domain.journal import read_journal
from taskhub.logs import get_logger
from taskhub.maintenance.link import Record, WorkerLink
from taskhub.roles.isolation import Isolation
from taskhub.services.execution.requeue import requeue
from taskhub.services.recovery.rescue import release_from_outside
from taskhub.store.connection import Store
from taskhub.store.slots import slot_job_ids

log = get_logger(__name__)

_PAUSE_S = 0.02


class BlockedChild:
    """Settles and gives back what a child holds beside a handler that holds its interpreter."""

    def __init__(self, store: Store, broker: Broker, link: WorkerLink, hold_s: float, isolation: Isolation) -> None:
        self._store = store
        self._broker = broker
        self._link = link
        self._hold_s = hold_s
        self._isolation = isolation
        self._relieved: dict[int, str] = {}

    def step(self) -> None:
        """Relieve each child once per batch."""
        held_up = [record for record in self._link.all() if self._is_held_up(record)]
        self._isolation.each(held_up, lambda record: (record.slot, record.token), self._relieve)

    def _is_held_up(self, record: Record) -> bool:
        token = record.token
        if record.is_dead or not token or self._relieved.get(record.slot) == token:
            return False
        return bool(record.running) and min(record.runs_for_s, record.helper_silent_for_s) > self._hold_s

    def _relieve(self, record: Record) -> None:
        token = record.token
        if token is not None:
            self._help(record, token)
            self._relieved[record.slot] = token

    def _help(self, record: Record, token: str) -> None:
        held = slot_job_ids(self._store, self._link.worker, token)
        outcomes = list(read_journal(record.journal_bytes()))
        if len(held) <= len(outcomes) + 1 and not outcomes:
            return  # it holds nothing but what it runs
        record.revoke(token)
        clock.sleep(_PAUSE_S)
        running, outcomes = record.running, list(read_journal(record.journal_bytes()))
        if record.token != token or running is None:
            return  # it came back by itself
        begun = {outcome.id for outcome in outcomes} | {running}
        unstarted = [job_id for job_id in held if job_id not in begun]
        release_from_outside(self._store, token, outcomes, unstarted)
        text = f"its job holds the interpreter: {len(unstarted)} unstarted jobs behind it are released"
        fields = {"slot": record.slot, "job_id": running, "count": len(unstarted), "text": text}
        log.info("child.relieved", extra=fields)
        try:
            requeue(self._store, self._broker, unstarted)
        except BrokerUnavailableError:
            log.debug("help.unpushed", extra={"slot": record.slot, "text": "the dispatcher will push"})
