"""What the views need of one API process, made once, after fork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taskhub.api.gates import Gate
from taskhub.broker.opening import open_broker
from taskhub.events.teller import Teller
from taskhub.handlers.registry import Registry
from taskhub.services.queries.depth import Depths, Limits
from taskhub.services.queries.waiting import Hub
from taskhub.services.submission.doorbell import Doorbell
from taskhub.services.submission.submitter import Submitter
from taskhub.services.submission.validation import Validator
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from taskhub.store.opening import open_store
from taskhub.store.pool import ConnectionPool

# An answer, also that PostgreSQL is away, is due within two seconds.
_CONNECT_S = 0.7
_READERS = 4


def _never() -> bool:
    return False


@dataclass
class ApiContext:
    """The process's context. is_draining: told by whatever runs the process; no wait outlasts it."""

    settings: Settings
    registry: Registry
    store: ConnectionPool
    submitter: Submitter
    validator: Validator
    doorbell: Doorbell
    depths: Depths
    limits: Limits | None
    waiters: Hub
    gate: Gate
    teller: Teller
    is_draining: Callable[[], bool] = field(default=_never)

    def close(self) -> None:
        self.submitter.close()
        self.store.close()


def make_context(settings: Settings, registry: Registry) -> ApiContext:
    """Connects to nothing yet. Raises SettingsError if a server's URL is not set."""

    def connect(lock_s: float, statement_s: float | None = None, *, index_only: bool = False) -> Connection:
        limits = {"statement_s": statement_s, "lock_s": lock_s, "connect_s": _CONNECT_S}
        return open_store(settings, "taskhub api", **limits, index_only=index_only)

    def connect_reader() -> Connection:
        return connect(settings.timers.pg_lock_s, index_only=True)

    gate = Gate(settings.api_threads)
    store = ConnectionPool(connect_reader, _READERS, wait_s=1.0)
    broker = open_broker(settings, timeout_s=settings.timers.redis_api_s)
    doorbell = Doorbell(broker)
    depths = Depths(store.reads, broker, registry.queues())
    context = ApiContext(
        settings=settings,
        registry=registry,
        store=store,
        submitter=Submitter(connect, doorbell, gate.aside),
        validator=Validator(registry, max_attempts=settings.max_attempts, max_payload_bytes=settings.max_body_bytes),
        doorbell=doorbell,
        depths=depths,
        limits=_limits(settings, depths, store),
        waiters=Hub(connect_reader, settings.api_waiters, lambda: context.is_draining()),  # noqa: PLW0108 (there is none yet)
        gate=gate,
        teller=Teller(),
    )
    return context


def _limits(settings: Settings, depths: Depths, store: ConnectionPool) -> Limits | None:
    """None if there are none: then no submission asks."""
    most, longest_s = settings.queue_max_depth, settings.queue_max_age_s
    return None if most is None and longest_s is None else Limits(depths, store.reads, most, longest_s)
