"""Ring Redis for jobs that are committed: best effort, soon given up, never in the way of an answer.

A push is written and not waited for; what it came to is seen with the next one, or when somebody asks. While it is not
known whether Redis is back, it is waited for. What is not pushed is found by the reconciler. After a failure Redis is
left alone for half a second to a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from taskhub.domain.errors import BrokerUnavailableError
from taskhub.domain.new_job import NewJob
from taskhub.logs import get_logger
from taskhub.outage import Outage

if TYPE_CHECKING:
    from taskhub.broker.broker import Broker

log = get_logger(__name__)

_REST_S = 1.0


class Doorbell:
    """One process's pushes, from any of its threads."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._pusher = broker.pusher()
        self._lock = threading.Lock()  # of the outage
        self._outage = Outage(log, "redis.lost", "redis.back", base_s=_REST_S, cap_s=_REST_S)

    @property
    def is_up(self) -> bool:
        """False from a failed push to the next one that works."""
        return not self._outage.is_on

    def ring(self, new_jobs: Iterable[NewJob]) -> None:
        """Push the ids that are to run at once. Never raises."""
        by_place: dict[tuple[str, int], list[str]] = {}
        for new_job in new_jobs:
            if not new_job.waits:
                by_place.setdefault((new_job.queue, new_job.priority), []).append(new_job.id)
        if not by_place or not self._outage.is_due:
            return
        try:
            if not self._outage.is_on:
                self._pusher.push(by_place)
                return
            for (queue, priority), ids in by_place.items():
                self._broker.push(queue, priority, ids)
        except BrokerUnavailableError as error:
            self._lost(error)
        else:
            self._worked()

    def ask(self) -> bool:
        """True if Redis answers now; asked about once a second while it is away."""
        if self._outage.is_due:
            try:
                self._pusher.settle()
                self._broker.ping()
            except BrokerUnavailableError as error:
                self._lost(error)
            else:
                self._worked()
        return self.is_up

    def close(self) -> None:
        """Leave the connection of the pushes; the next makes another."""
        self._pusher.close()

    def _lost(self, error: BrokerUnavailableError) -> None:
        with self._lock:
            self._outage.lost(f"jobs are accepted and run a little later: {error}")

    def _worked(self) -> None:
        if self._outage.is_on:
            with self._lock:
                self._outage.back()
