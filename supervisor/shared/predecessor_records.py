"""What a dead worker of this state folder has left: its records, as far as they can be read, and its file."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.leftovers import Leftovers
from supervisor.shared.predecessors import Predecessor, keep_bytes, names_a_worker
from supervisor.shared.records import RecordView, look_for_leftovers
from taskhub.logs import get_logger

log = get_logger(__name__)


class PredecessorRecords:
    """One dead worker's."""

    def __init__(self, predecessor: Predecessor, leftovers: Leftovers) -> None:
        self._predecessor = predecessor
        self.worker = predecessor.worker
        self.is_stuck = False  # seen to, and still there
        self._records = [
            RecordView(bank, leftovers, predecessor.is_of_this_boot, predecessor.was_stopping)
            for bank in predecessor.banks()
        ]
        look_for_leftovers(leftovers, self._records)

    def all(self) -> Iterator[RecordView]:
        """The records that can be relied upon; what the others held, PostgreSQL must tell."""
        for record in self._records:
            if record.flaw is None:
                yield record

    def set_aside(self, slot: int, content: bytes, reason: str) -> None:
        """Keep the bytes of a record that cannot be accounted for."""
        keep_bytes(self._predecessor.path, f"slot-{slot}", content, reason)

    def remove(self) -> None:
        """All is accounted for, or known to PostgreSQL alone: delete the file, or keep it if it is damaged."""
        name = None if names_a_worker(self._predecessor.path) else "no worker has this name"
        flaws = [name, self._predecessor.flaw, *(record.flaw for record in self._records)]
        reason = next((flaw for flaw in flaws if flaw), None)
        try:
            if reason is None:
                self._predecessor.remove()
            else:
                _set_aside(self._predecessor, reason)
        except OSError as error:
            self.is_stuck = True
            text = f"it cannot be removed from TASKHUB_STATE_DIR: {error.strerror}"
            log.warning("worker.state_stuck", extra={"worker": self.worker, "text": text})


def _set_aside(predecessor: Predecessor, reason: str) -> None:
    """Put a damaged file out of the way; what PostgreSQL knows of its worker does not need it."""
    kept = predecessor.set_aside(reason)
    text = f"kept as {kept.name}, its jobs are taken back as PostgreSQL knows them: {reason}"
    log.warning("worker.state_damaged", extra={"worker": predecessor.worker, "text": text})
