"""The program of the sidecar: which roles there are, and the turns in which they are kept.

The main thread starts the roles, compares times and ticks; it calls nothing that could make it wait. Its tick tells
the supervisor that every role has given a sign of life in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from taskhub import clock, failpoints
from taskhub.events.teller import Teller
from taskhub.logs import get_logger
from taskhub.maintenance.dispatcher import Dispatcher
from taskhub.maintenance.expirer import Expirer
from taskhub.maintenance.link import WorkerLink
from taskhub.maintenance.observer import Observer
from taskhub.maintenance.pruner import Pruner
from taskhub.maintenance.reconciler import Reconciler
from taskhub.maintenance.recoverer import Recoverer
from taskhub.maintenance.requeuer import PendingRequeues, Requeuer
from taskhub.roles.isolation import Isolation
from taskhub.roles.role_manager import RoleManager
from taskhub.roles.role_thread import Role, RolePlan
from taskhub.roles.state import RoleState
from taskhub.settings.fields import Settings
from taskhub.sidecar.blocked_child import BlockedChild
from taskhub.sidecar.cancellation import Cancellation
from taskhub.sidecar.child_recovery import ChildRecovery
from taskhub.sidecar.health import Health
from taskhub.sidecar.heartbeat import Heartbeat, wait_for_beat
from taskhub.sidecar.http_port import port_role
from taskhub.sidecar.http_requests import Requests
from taskhub.sidecar.predecessor_recovery import PredecessorRecovery
from taskhub.sidecar.raw_output import EVERY_S, RawOutput
from taskhub.sidecar.record_recovery import RecordRecovery
from taskhub.sidecar.server_access import ServerAccess
from taskhub.sidecar.worker_metrics import WorkerMetrics

log = get_logger(__name__)

VITAL = ("heartbeat", "child_recovery")  # without them no job starts, or no child is replaced for long
_TURN_S = 0.1
_LEAVING_TURN_S = 0.01


def run_sidecar(settings: Settings, queues: list[str], link: WorkerLink) -> int:
    """Look after one worker until its supervisor goes; returns the exit status. Called after the fork.

    queues: the names of those that it serves.
    """
    failpoints.arm(settings.failpoints)
    states: list[RoleState] = []
    plans = _Plans(settings, queues, link, states).all()
    hung = link.hung_role - 1
    states += [RoleState(p.name, is_vital=p.name in VITAL, hung_before=n == hung) for n, p in enumerate(plans)]
    link.set_hung_role(0)
    manager = RoleManager(plans, states, link)

    def note_hung(state: RoleState) -> None:
        link.set_hung_role(1 + states.index(state))

    while link.should_run():
        if manager.check(note_hung):
            link.tick()
        clock.sleep(_TURN_S)
    while not manager.stop():
        if not link.has_time_left():
            log.warning("worker.left_behind", extra={"text": "another worker will take back what is left"})
            return 1
        manager.check(note_hung)
        clock.sleep(_LEAVING_TURN_S)
    return 0


class _Plans:
    """How each role is made, and what some of them share."""

    def __init__(self, settings: Settings, queues: list[str], link: WorkerLink, states: list[RoleState]) -> None:
        self._settings = settings
        self._queues = queues
        self._link = link
        self._states = states
        self._access = ServerAccess(settings)
        self._requeues = PendingRequeues()

    def all(self) -> list[RolePlan]:
        """The heartbeat first; then what only this worker can do; then what any worker does for all; then the port."""
        timers = self._settings.timers
        limit_s = timers.sidecar_stall_s
        wake, news, beat = self._link.wait, self._requeues.wait, partial(wait_for_beat, self._link)
        return [
            RolePlan("heartbeat", timers.heartbeat_s, self._heartbeat, limit_s / 2, retry_cap_s=2.0, wait=beat),
            RolePlan(
                "child_recovery", 0.25, self._child_recovery, limit_s, retry_cap_s=5.0, has_last_step=True, wait=wake
            ),
            RolePlan("requeuer", 0.5, self._requeuer, limit_s, wait=news),
            RolePlan("blocked_child", 0.2, self._blocked_child, limit_s),
            RolePlan("cancellation", 0.5, self._cancellation, limit_s),
            RolePlan("output", EVERY_S, self._output, limit_s, retry_cap_s=2.0, has_last_step=True),
            RolePlan("predecessor_recovery", timers.recover_s, self._registered(self._predecessor_recovery), limit_s),
            RolePlan("observer", timers.recover_s, self._registered(self._observer), limit_s),
            RolePlan("recoverer", timers.recover_s, self._registered(self._recoverer), limit_s),
            RolePlan("dispatcher", timers.dispatch_s, self._registered(self._dispatcher), limit_s),
            RolePlan("reconciler", timers.reconcile_s, self._registered(self._reconciler), limit_s),
            RolePlan("expirer", 2.0, self._registered(self._expirer), limit_s),
            RolePlan("pruner", 0.25, self._registered(self._pruner), limit_s),
            RolePlan("http", 0.0, self._port(), limit_s),
        ]

    def _registered(self, make: Callable[[RoleState], Role]) -> Callable[[RoleState], Role]:
        """A role that rests until PostgreSQL knows this worker: so an old schema is told once, by the heartbeat."""

        def made(state: RoleState) -> Role:
            role = make(state)
            return replace(role, step=lambda: role.step() if self._link.is_registered else None)

        return made

    def _heartbeat(self, state: RoleState) -> Role:
        store, validity_s = self._access.heartbeat_store(state), self._settings.timers.validity_s
        return Role(Heartbeat(store, self._link, validity_s=validity_s, queues=self._queues).step)

    def _child_recovery(self, state: RoleState) -> Role:
        store = self._access.store(state)
        records = RecordRecovery(store, self._settings, self._requeues, Teller())
        recovery = ChildRecovery(store, self._link, records, self._requeues, Isolation(state))
        requeuer = self._make_requeuer(state)

        def last_step() -> bool:
            recovery.step()
            requeuer.step()
            return recovery.deregister()

        return Role(recovery.step, last_step=last_step)

    def _make_requeuer(self, state: RoleState) -> Requeuer:
        return Requeuer(self._access.store(state), self._access.broker(state), self._requeues, Isolation(state))

    def _requeuer(self, state: RoleState) -> Role:
        return Role(self._make_requeuer(state).step)

    def _blocked_child(self, state: RoleState) -> Role:
        store, broker = self._access.store(state), self._access.broker(state)
        hold_s = self._settings.timers.interpreter_hold_s
        return Role(BlockedChild(store, broker, self._link, hold_s, Isolation(state)).step)

    def _cancellation(self, state: RoleState) -> Role:
        return Role(Cancellation(self._access.store(state), self._link).step)

    def _output(self, _: RoleState) -> Role:
        output = RawOutput(self._link.outputs, self._link.latest_task)
        return Role(output.step, last_step=output.drain)

    def _predecessor_recovery(self, state: RoleState) -> Role:
        store = self._access.store(state)
        records = RecordRecovery(store, self._settings, self._requeues, Teller())
        return Role(PredecessorRecovery(store, self._link, records, Isolation(state)).step)

    def _expirer(self, state: RoleState) -> Role:
        return Role(Expirer(self._access.store(state)).step)

    def _observer(self, state: RoleState) -> Role:
        return Role(Observer(self._access.store(state), self._link, self._settings.timers).step)

    def _recoverer(self, state: RoleState) -> Role:
        store = self._access.store(state)
        return Role(Recoverer(store, self._link, self._requeues, Teller(), Isolation(state)).step)

    def _dispatcher(self, state: RoleState) -> Role:
        return Role(Dispatcher(self._access.store(state), self._access.broker(state), Isolation(state)).step)

    def _reconciler(self, state: RoleState) -> Role:
        store, broker = self._access.store(state), self._access.broker(state)
        return Role(Reconciler(store, broker, self._settings.timers).step)

    def _pruner(self, state: RoleState) -> Role:
        return Role(Pruner(self._access.store(state), self._access.broker(state), self._settings).step)

    def _port(self) -> Callable[[RoleState], Role]:
        link, states, access = self._link, self._states, self._access
        store, broker = access.probe_store(), access.probe_broker()
        page = WorkerMetrics(link, states, store, broker)
        health = Health(link, states, store, broker, page.unclaimed_s)
        slow = {"/readyz": health.readyz, "/health": health.readyz, "/metrics": page.page}
        requests = Requests({"/livez": health.livez}, slow)

        def opened(port: int) -> None:
            text = f"probes and metrics are on port {port}"
            log.info("worker.listening", extra={"port": port, "worker": link.worker, "text": text})

        return port_role(self._settings.http_host, self._settings.metrics_port, requests, opened)
