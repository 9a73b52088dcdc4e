"""The program of the sidecar: three threads of roles over connections of their own, and the worker's HTTP port."""

from __future__ import annotations

import threading
from collections.abc import Callable

from taskhub import failpoints
from taskhub.config import Settings
from taskhub.logs import get_logger
from taskhub.maintenance.dispatcher import Dispatcher
from taskhub.maintenance.heartbeat import Heartbeat
from taskhub.maintenance.periodic import Role, run_roles
from taskhub.maintenance.probes import Probes
from taskhub.maintenance.pruner import Pruner
from taskhub.maintenance.reconciler import Reconciler
from taskhub.maintenance.records import Watch
from taskhub.maintenance.recoverer import Recoverer
from taskhub.maintenance.relief import OutsideRelief
from taskhub.maintenance.report import RescueReport
from taskhub.maintenance.undertaker import Undertaker
from taskhub.queue.broker import Broker
from taskhub.store.connection import Connection

log = get_logger(__name__)

_UNDERTAKE_S = 0.1
_RELIEVE_S = 0.2
_CANCEL_S = 0.5
_EXPIRE_S = 2.0
_PRUNE_S = 10.0


def run_sidecar(settings: Settings, queues: Callable[[], list[str]], watch: Watch) -> int:
    """Look after one worker until its supervisor goes; returns the exit status. Called after the fork."""
    failpoints.arm(settings.failpoints)
    timers = settings.timers
    heart = Heartbeat(_store(settings, "heartbeat"), watch, validity_s=timers.validity_s, queues=queues)
    near = _store(settings, "undertaker")
    undertaker = Undertaker(near, _broker(settings), watch, settings, RescueReport())
    relief = OutsideRelief(near, _broker(settings), watch, timers.interpreter_hold_s)
    undertaking = [
        Role("undertaker", _UNDERTAKE_S, undertaker.step),
        Role("relief", _RELIEVE_S, relief.step),
        Role("cancellation", _CANCEL_S, relief.cancel),
    ]
    probes = Probes(watch, _store(settings, "probes"), _broker(settings))
    port = probes.listen(settings.http_host, settings.metrics_port)
    watch.set_port(port)
    log.info("worker.listening", extra={"port": port, "worker": watch.worker})
    _begin("heartbeat", [Role("heartbeat", timers.heartbeat_s, heart.step)], watch)
    _begin("upkeep", _upkeep(settings, watch), watch)
    undertaker_role = [Role("resume", 86_400.0, undertaker.resume), *undertaking]
    run_roles(undertaker_role, watch.is_wanted, watch.wait)
    return _farewell(settings, watch, undertaker)


def _upkeep(settings: Settings, watch: Watch) -> list[Role]:
    """What every worker does for all; any one of them alive is enough."""
    timers, report = settings.timers, RescueReport()
    store, broker = _store(settings, "upkeep"), _broker(settings)
    pruner = Pruner(store, settings)
    return [
        Role("heir", timers.recover_s, Undertaker(store, broker, watch, settings, report).inherit),
        Role("dispatcher", timers.dispatch_s, Dispatcher(store, broker).step),
        Role("reconciler", timers.reconcile_s, Reconciler(store, broker, timers).step),
        Role("recoverer", timers.recover_s, Recoverer(store, broker, watch, timers, report).step),
        Role("expiry", _EXPIRE_S, pruner.expire),
        Role("pruner", _PRUNE_S, pruner.prune),
    ]


def _begin(name: str, roles: list[Role], watch: Watch) -> None:
    threading.Thread(target=run_roles, args=(roles, watch.is_wanted, watch.nap), name=name, daemon=True).start()


def _farewell(settings: Settings, watch: Watch, undertaker: Undertaker) -> int:
    """The children are gone: leave nothing for others to find."""
    role = Role("farewell", _UNDERTAKE_S, undertaker.step)
    run_roles([role], lambda: not undertaker.is_done and watch.has_time_left(), watch.wait)
    if not undertaker.is_done:
        log.warning("worker.left_behind", extra={"text": "another worker will take back what is left"})
        return 1
    store = _store(settings, "farewell")
    store.run("expire_worker", watch.worker)
    store.run("forget_worker", watch.worker)
    watch.remove()
    return 0


def _store(settings: Settings, name: str) -> Connection:
    timers = settings.timers
    return Connection(
        settings.server_urls()[0],
        application=f"taskhub {name}",
        statement_s=timers.pg_statement_s,
        lock_s=timers.pg_lock_s,
        connect_s=timers.pg_connect_s,
        index_only=True,
    )


def _broker(settings: Settings) -> Broker:
    return Broker(settings.server_urls()[1], timeout_s=settings.timers.redis_worker_s)
