"""The page that is scraped from a worker: what its processes have counted, and what is true at this moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from taskhub import clock
from taskhub.broker.broker import Broker
from taskhub.domain.errors import StoreUnavailableError, TaskhubError
from taskhub.logs import get_logger
from taskhub.maintenance.link import Record, WorkerLink
from taskhub.metrics import definitions as metrics
from taskhub.metrics import page
from taskhub.metrics.page import Metric
from taskhub.roles.state import RoleState
from taskhub.services.queries.depth import COUNTED_TO
from taskhub.sidecar.http_answer import HttpAnswer
from taskhub.store.connection import Store
from taskhub.store.queues import count_dead_letters, queue_depth, queue_names

log = get_logger(__name__)

_LETTERS_LAST_S = 5.0
_LETTERS_BOUND = 100_000
_LOCK_S = 5.0


class WorkerMetrics:
    """Makes the page. Values that cannot be found at the moment are left out."""

    def __init__(self, link: WorkerLink, roles: list[RoleState], store: Store, broker: Broker) -> None:
        self._link = link
        self._roles = roles
        self._store = store
        self._broker = broker
        self._lock = threading.Lock()  # several may scrape at once
        self._depths: dict[str, int] = {}
        self._letters: dict[tuple[str, ...], float] = {}
        self._letters_at_s = -_LETTERS_LAST_S
        self._unclaimed_since_s: float | None = None

    def page(self) -> HttpAnswer:
        if not self._lock.acquire(timeout=_LOCK_S):
            return HttpAnswer(503, page.CONTENT_TYPE, b"")
        try:
            return HttpAnswer(200, page.CONTENT_TYPE, page.render([*self._of_memory(), *self._of_servers()]))
        finally:
            self._lock.release()

    def unclaimed_s(self) -> float:
        """For how long jobs have been ready while no child ran one, at the last scrape."""
        since_s = self._unclaimed_since_s
        return clock.monotonic_s() - since_s if since_s is not None else 0.0

    def _of_memory(self) -> Iterator[Metric]:
        active = sum(1 for record in self._link.all() if record.running and not record.is_dead)
        yield metrics.ACTIVE_PROCESSES.of({(): float(active)})
        yield metrics.SUPERVISOR_TURN.of({(): self._link.longest_turn_s})
        yield metrics.SUPERVISOR_FAILURES.of({(): float(self._link.failed_steps)})
        yield metrics.SLOT_BACKOFF.of({(): float(self._link.children_in_backoff)})
        yield metrics.ROLE_AGE.of({(role.name,): role.age_s for role in self._roles})
        yield metrics.SIDECAR_RESTARTS.of({(): float(self._link.sidecar_restarts)})

    def _of_servers(self) -> Iterator[Metric]:
        store_is_up, redis_is_up = True, True
        try:
            names = queue_names(self._store, timeout_s=1.0)
            yield metrics.DEAD_LETTERS.of(self._dead_letters())
        except Exception as error:  # noqa: BLE001 (whatever it is, the rest of the page is wanted)
            self._note(error)
            store_is_up, names = False, list(self._depths)
        try:
            self._depths = self._broker.depths(names)
            yield metrics.QUEUE_DEPTH.of({(name,): float(depth) for name, depth in self._depths.items()})
        except Exception as error:  # noqa: BLE001
            self._note(error)
            redis_is_up = False
            yield from self._depths_of_store(store_is_up)
        yield metrics.REDIS_UP.of({(): float(redis_is_up)})
        yield metrics.POSTGRES_UP.of({(): float(store_is_up)})
        yield metrics.UNCLAIMED.of({(): self._unclaimed([r for r in self._link.all() if not r.is_dead])})

    def _dead_letters(self) -> dict[tuple[str, ...], float]:
        """Counting them reads them all, so it is done now and then."""
        if clock.monotonic_s() - self._letters_at_s >= _LETTERS_LAST_S:
            letters = count_dead_letters(self._store, _LETTERS_BOUND, timeout_s=2.0)
            self._letters = {(each.queue, each.type): float(each.jobs) for each in letters}
            self._letters_at_s = clock.monotonic_s()
        return self._letters

    def _depths_of_store(self, store_is_up: bool) -> Iterator[Metric]:
        """Without Redis, PostgreSQL counts; without both, the depth is unknown and left out, never 0."""
        try:
            if not store_is_up:
                raise StoreUnavailableError("it was not there a moment ago")
            depths = queue_depth(self._store, *COUNTED_TO, timeout_s=2.0)
        except Exception as error:  # noqa: BLE001
            self._note(error)
            return
        yield metrics.QUEUE_DEPTH.of({(name,): float(depth) for name, depth in depths.items()})

    def _unclaimed(self, records: list[Record]) -> float:
        """For how long jobs have been ready while no child of this worker runs one."""
        is_idle = not any(record.running for record in records) and not self._link.is_quiet
        if not (is_idle and any(self._depths.values())):
            self._unclaimed_since_s = None
        elif self._unclaimed_since_s is None:
            self._unclaimed_since_s = clock.monotonic_s()
        return self.unclaimed_s()

    @staticmethod
    def _note(error: Exception) -> None:
        if not isinstance(error, TaskhubError):
            log.warning("probe.incomplete", extra={"text": type(error).__name__})
