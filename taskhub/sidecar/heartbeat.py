"""Prove to PostgreSQL that this worker is alive, and to its children that PostgreSQL believes it.

Each heartbeat that changes the worker's row extends the validity in shared memory, counted from before it
was sent; never while the supervisor itself does not turn, nor on a schema that does not allow this code (any
more). A heartbeat that changes no row means that somebody has declared this worker dead: everything it holds is
being run elsewhere, so it must restart.

It depends on nothing but its connection: what it says of itself is found before the fork, so it beats on while
the package is being replaced, or the machine forgets its name.
"""

from __future__ import annotations

import socket
from importlib import metadata

from taskhub import clock
from taskhub.domain.errors import SchemaOutdatedError, StoreUnavailableError
from taskhub.logs import get_logger
from taskhub.maintenance.link import WorkerLink
from taskhub.store.connection import Store
from taskhub.store.migrations import require_current
from taskhub.store.workers import heartbeat, register_worker

log = get_logger(__name__)

_PARENT_SILENT_S = 3.0
_LOOK_S = 1.0
_STOP_IS_SEEN_S = 0.25


def _installed_version() -> str:
    try:
        return metadata.version("taskhub")
    except metadata.PackageNotFoundError:
        return "unknown"


VERSION, HOST = _installed_version(), socket.gethostname()


class Heartbeat:
    """One worker's heartbeat."""

    def __init__(self, store: Store, link: WorkerLink, *, validity_s: float, queues: list[str]) -> None:
        self._store = store
        self._link = link
        self._validity_s = validity_s
        self._queues = queues
        self._is_registered = False

    def step(self) -> None:
        """Register at first, then beat. Raises StoreUnavailableError."""
        sent_s = clock.boottime_s()
        if self._link.parent_silent_for_s > _PARENT_SILENT_S or self._link.is_fenced:
            return
        if not self._is_registered:
            self._register()
        open_slots = heartbeat(self._store, self._link.worker, self._link.is_draining, timeout_s=self._validity_s / 2)
        if open_slots is None:
            log.error(
                "worker.fenced",
                extra={"worker": self._link.worker, "text": "declared dead; it restarts under another id"},
            )
            self._link.fence()
            return
        self._link.set_peers(open_slots)
        self._require_allowed()
        self._link.extend_validity(sent_s + self._validity_s)

    def _require_allowed(self) -> None:
        """Somebody may have migrated meanwhile. Raises SchemaOutdatedError: nothing is started any more then.

        This worker has beaten all the same: what it runs is still its own, and charged to nobody.
        """
        try:
            require_current(self._store, timeout_s=_LOOK_S)
        except SchemaOutdatedError:
            self._link.extend_validity(0.0)
            raise
        except StoreUnavailableError:  # the history is locked, perhaps by who migrates: the next heartbeat looks again
            return

    def _register(self) -> None:
        """Raises SchemaOutdatedError, too: then this worker waits for whoever migrates, and holds nothing meanwhile."""
        require_current(self._store)
        register_worker(self._store, self._link.worker, HOST, self._link.host_pid, VERSION, self._queues)
        self._is_registered = True


def wait_for_beat(link: WorkerLink, timeout_s: float) -> None:
    """Until the next beat is due, or a stop begins: that is told at once."""
    was_stopping, until_s = link.is_draining, clock.monotonic_s() + timeout_s
    while (left_s := until_s - clock.monotonic_s()) > 0 and link.is_draining == was_stopping:
        clock.sleep(min(left_s, _STOP_IS_SEEN_S))
