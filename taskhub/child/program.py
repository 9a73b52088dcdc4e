"""The program of a child process: open its connections and its slot, build its parts, then run jobs."""

from __future__ import annotations

import os
import signal

from taskhub import clock, failpoints
from taskhub.broker.broker import Broker
from taskhub.broker.opening import open_broker
from taskhub.child.batch import Batch
from taskhub.child.batch_run import BatchRun
from taskhub.child.batch_size import BatchSize
from taskhub.child.clean_ground import CleanGround
from taskhub.child.exits import tell_exits, watch_exits
from taskhub.child.failure_policy import FailurePolicy
from taskhub.child.link import SupervisorLink
from taskhub.child.long_job import LongJobHelper
from taskhub.child.loop import LEFT_IN_ORDER, SLOT_WAS_CLOSED, ChildLimits, ChildLoop
from taskhub.child.next_batch import NextBatch
from taskhub.child.own_memory import OwnMemory
from taskhub.child.run_job import INTERRUPT, JobRunner
from taskhub.child.served_queues import QueueRotation, ServedQueues
from taskhub.child.setters import watch_setters
from taskhub.child.settling import Settler
from taskhub.child.troubles import Troubles
from taskhub.domain.job import MAX_BATCH_BYTES, WorkerSlot
from taskhub.events.teller import Teller
from taskhub.handlers.registry import Registry
from taskhub.logs import get_logger, name_jobs
from taskhub.outage import Outage
from taskhub.services.execution.claim import Claimer
from taskhub.services.execution.redis_take import RedisTake
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from taskhub.store.opening import open_store
from taskhub.store.queues import served_queues
from taskhub.store.slots import open_slot
from taskhub.store.transaction import HandlerSession

log = get_logger(__name__)

_LOCK_S = 0.5  # what others have locked for longer is left alone: a child has more to do than to wait for one row
_ACTIVE_S, _RECENT = 30.0, 32  # serving all, listened to: queues used so lately, and so many others


def run_child(settings: Settings, registry: Registry, link: SupervisorLink) -> int:
    """Run jobs until told to leave; returns the exit status. Called after the fork, in the main thread."""
    watch_setters()  # the supervisor did, before it imported the handlers; a child that imports them itself does
    watch_exits()
    tell_exits(link)
    failpoints.arm(settings.failpoints)
    failpoints.hit("worker.boot")
    database_url, _ = settings.server_urls()
    store = open_store(settings, "taskhub child", lock_s=_LOCK_S, index_only=True)
    broker = open_broker(settings)
    if not _open_slot(store, link):
        if link.is_wanted():
            return SLOT_WAS_CLOSED
        link.leaving()
        return LEFT_IN_ORDER
    runner = _runner(settings, link, database_url)
    settler = Settler(Batch(), store, broker, Teller(link.worker, link.slot))
    helper = LongJobHelper(
        link, settler, settle_within_s=settings.timers.settle_within_s, budget_s=settings.timers.batch_budget_s
    )
    troubles = Troubles(link, runner.ground)
    next_batch = _next_batch(settings, registry, link, settler, store, broker)
    batch_run = BatchRun(link, registry, runner, settler, helper, troubles)
    limits = ChildLimits(settings.timers.block_s, settings.max_jobs_per_child)
    return ChildLoop(link, next_batch, batch_run, settler, troubles, limits).run()


def _runner(settings: Settings, link: SupervisorLink, database_url: str) -> JobRunner:
    """What runs a job, in this process as it is from now on."""
    policy = FailurePolicy(settings.retry_base_s, settings.retry_cap_s, settings.job_timeout_s)
    ground = CleanGround(OwnMemory(settings.hard_rss_mb))
    doubts = open_store(settings, "taskhub doubt", lock_s=_LOCK_S, index_only=True)
    runner = JobRunner(link, policy, ground, HandlerSession(database_url), doubts)
    signal.signal(INTERRUPT, runner.interrupt)
    os.register_at_fork(after_in_child=runner.forget_in_fork)
    runner.output.capture()
    name_jobs(runner.running_fields)
    ground.begin()
    return runner


def _next_batch(
    settings: Settings, registry: Registry, link: SupervisorLink, settler: Settler, store: Connection, broker: Broker
) -> NextBatch:
    def learn() -> set[str]:
        return served_queues(store, _ACTIVE_S, _RECENT) | set(registry.queues())

    slot = WorkerSlot(link.worker, link.slot, link.generation)
    redis = Outage(log, "redis.lost", "redis.back", base_s=0.2, slot=link.slot)
    claimer = Claimer(store, RedisTake(broker, slot, redis), slot)
    rotation = QueueRotation(dict(settings.queues) or dict.fromkeys(registry.queues(), 1))
    queues = ServedQueues(rotation, None if settings.queues else learn)
    batch_size = BatchSize(settings.timers.batch_budget_s, MAX_BATCH_BYTES)
    return NextBatch(link, settler, claimer, broker, queues, batch_size)


def _open_slot(store: Connection, link: SupervisorLink) -> bool:
    """Make the slot known; waits while that cannot be. False: this worker was declared dead, or is unwanted."""
    outage = Outage(log, "postgres.lost", "postgres.back", slot=link.slot)
    while link.is_wanted():
        try:
            if link.may_start():  # the worker's own row is there from its first heartbeat on
                is_open = open_slot(store, WorkerSlot(link.worker, link.slot, link.generation), os.getpid())
                outage.back()
                return is_open
            clock.sleep(0.01)
        except Exception as error:  # noqa: BLE001 (away, altered, no descriptors: nothing of it ends a child)
            clock.sleep(outage.lost(f"{type(error).__name__}: {error}"))
        link.waiting()
    return False
