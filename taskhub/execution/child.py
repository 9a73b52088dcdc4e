"""The program of a child process: open its two connections and its slot, then consume."""

from __future__ import annotations

import os
import signal
from typing import Any

from taskhub import clock, failpoints
from taskhub.config import Settings
from taskhub.domain.backoff import reconnect_delay_s
from taskhub.domain.errors import StoreUnavailableError
from taskhub.execution.clean_ground import CleanGround
from taskhub.execution.consumer import LEFT_IN_ORDER, SLOT_WAS_CLOSED, Consumer, Timing
from taskhub.execution.executor import INTERRUPT, Executor, Policy
from taskhub.execution.lifeline import Lifeline
from taskhub.execution.own_memory import OwnMemory
from taskhub.execution.registry import Registry
from taskhub.execution.reporter import Recorder, Reporter
from taskhub.execution.setters import watch_setters
from taskhub.execution.transaction import transactions
from taskhub.execution.turns import Turns
from taskhub.logs import get_logger
from taskhub.queue.broker import Broker
from taskhub.services.claim import Claimer, Slot
from taskhub.store.connection import Connection

log = get_logger(__name__)


def run_child(settings: Settings, registry: Registry, recorder: Recorder, lifeline: Lifeline) -> int:
    """Consume jobs until told to leave; returns the exit status. Called after the fork, in the main thread."""
    watch_setters()  # the supervisor did, before it imported the handlers; a child that imports them itself does
    failpoints.arm(settings.failpoints)
    failpoints.hit("worker.boot")
    database_url, redis_url = settings.server_urls()
    store = open_store(settings, database_url, "taskhub child")
    broker = Broker(redis_url, timeout_s=settings.timers.redis_worker_s)
    if not _open_slot(store, lifeline):
        if lifeline.is_wanted():
            return SLOT_WAS_CLOSED
        lifeline.leaving()
        return LEFT_IN_ORDER
    policy = Policy(settings.retry_base_s, settings.retry_cap_s, settings.job_timeout_s)
    ground = CleanGround()
    executor = Executor(lifeline, policy, transactions(database_url, store), ground)
    signal.signal(INTERRUPT, executor.interrupt)
    os.register_at_fork(after_in_child=executor.forget_in_fork)
    ground.begin()
    slot = Slot(lifeline.worker, lifeline.slot, lifeline.generation)
    consumer = Consumer(
        lifeline,
        store,
        broker,
        Claimer(store, broker, slot, on_redis=lambda is_there: _redis_is(is_there, lifeline.slot)),
        registry,
        executor,
        Reporter(recorder, lifeline.worker, lifeline.slot),
        Turns(dict(settings.queues) or dict.fromkeys(registry.queues(), 1)),
        Timing(
            block_s=settings.timers.block_s,
            budget_s=settings.timers.batch_budget_s,
            settle_within_s=settings.timers.settle_within_s,
            max_jobs=settings.max_jobs_per_child,
        ),
        OwnMemory(settings.hard_rss_mb),
        serves_all=not settings.queues,
    )
    return consumer.run()


def open_store(settings: Settings, database_url: str, application: str, **options: Any) -> Connection:
    """A connection with the settings' time-outs, for look-ups by key."""
    timers = settings.timers
    return Connection(
        database_url,
        application=application,
        statement_s=timers.pg_statement_s,
        lock_s=timers.pg_lock_s,
        connect_s=timers.pg_connect_s,
        index_only=True,
        **options,
    )


def _open_slot(store: Connection, lifeline: Lifeline) -> bool:
    """Make the slot known; waits while PostgreSQL is away. False: this worker was declared dead, or is unwanted."""
    failures = 0
    while lifeline.is_wanted():
        try:
            if lifeline.may_start():  # the worker's own row is there from its first heartbeat on
                return bool(store.run("open_slot", lifeline.worker, lifeline.slot, lifeline.generation, os.getpid()))
            clock.sleep(0.01)
        except StoreUnavailableError:
            failures += 1
            clock.sleep(reconnect_delay_s(failures, 0.1, 2.0))
        lifeline.waiting()
    return False


def _redis_is(is_there: bool, slot: int) -> None:
    if is_there:
        log.info("redis.back", extra={"slot": slot})
    else:
        log.warning("redis.lost", extra={"slot": slot, "text": "Redis is away; claiming from PostgreSQL"})
