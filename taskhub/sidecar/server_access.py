"""A role's access to the servers: a connection for each call, from the few that all roles share.

So whoever hangs between two calls keeps no connection, and whoever hangs in one can be moved from outside by
shutting it. Each call is a sign of life, as long as the call itself may last: a server that is away or
slow makes no role look hung.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from taskhub.broker.broker import Broker
from taskhub.broker.opening import open_broker
from taskhub.domain.errors import TaskhubError
from taskhub.roles.state import RoleState
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection, Row
from taskhub.store.opening import open_store
from taskhub.store.pool import ConnectionPool

_SHARED = 3
_IDLE_S = 10.0
_PROBE_S = 1.0  # for a probe, to connect and to be answered: whoever asks has little patience


class CallMonitor(Protocol):
    """Who is told of calls."""

    def begin_call(self, within_s: float, shut: Callable[[], None] | None) -> None: ...
    def tick(self) -> None: ...


class Unmonitored:
    """For calls that nobody has to be told of: a probe's, whose asker leaves in time."""

    def begin_call(self, within_s: float, shut: Callable[[], None] | None) -> None: ...
    def tick(self) -> None: ...


class RoleStore:
    """Runs each statement over a connection that is borrowed for it, and left if anything unexpected happens."""

    def __init__(self, pool: ConnectionPool, monitor: CallMonitor, *, statement_s: float, connect_s: float) -> None:
        self._pool = pool
        self._monitor = monitor
        self._statement_s = statement_s
        self._connect_s = connect_s

    def run(self, name: str, *arguments: object, timeout_s: float | None = None) -> list[Row]:
        """As `Connection.run`. Raises StoreUnavailableError also if all connections stay in use."""
        self._monitor.begin_call(self._pool.wait_s, None)
        try:
            with self._pool.connection() as connection:
                within_s = (timeout_s or self._statement_s) + (0.0 if connection.is_open else self._connect_s)
                self._monitor.begin_call(within_s, connection.interrupt)
                return self._run(connection, name, arguments, timeout_s)
        finally:
            self._monitor.tick()

    @staticmethod
    def _run(connection: Connection, name: str, arguments: tuple[object, ...], timeout_s: float | None) -> list[Row]:
        try:
            return connection.run(name, *arguments, timeout_s=timeout_s)
        except TaskhubError:
            raise  # it has left what had to be left
        except BaseException:
            connection.close()
            raise


class RoleBroker(Broker):
    """Redis for one role, over the connections that all share."""

    def __init__(self, shared: Broker, state: RoleState, *, timeout_s: float) -> None:
        super().__init__("", timeout_s=timeout_s, connection=shared.client)
        self._state = state

    def _asking(self, command: str) -> AbstractContextManager[None]:
        self._state.begin_call(3 * self._timeout_s, self.close)  # to look its name up, to connect, and to answer
        return super()._asking(command)


class ServerAccess:
    """What the roles of one sidecar share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        timers = settings.timers
        self._roles = self._pool("roles", _SHARED, timers.pg_connect_s)
        self._heartbeat = self._pool("heartbeat", 1, timers.pg_connect_s)
        self._probes = self._pool("probes", 1, min(_PROBE_S, timers.pg_connect_s))
        self._broker = open_broker(settings)

    def store(self, state: RoleState) -> RoleStore:
        """For every role but the heartbeat."""
        timers = self._settings.timers
        return RoleStore(self._roles, state, statement_s=timers.pg_statement_s + 2.0, connect_s=timers.pg_connect_s)

    def heartbeat_store(self, state: RoleState) -> RoleStore:
        """A connection that nobody else can keep in use."""
        timers = self._settings.timers
        return RoleStore(self._heartbeat, state, statement_s=timers.pg_statement_s, connect_s=timers.pg_connect_s)

    def probe_store(self) -> RoleStore:
        return RoleStore(self._probes, Unmonitored(), statement_s=_PROBE_S, connect_s=_PROBE_S)

    def probe_broker(self) -> Broker:
        return open_broker(self._settings, timeout_s=min(_PROBE_S, self._settings.timers.redis_worker_s))

    def broker(self, state: RoleState) -> RoleBroker:
        return RoleBroker(self._broker, state, timeout_s=self._settings.timers.redis_worker_s)

    def _pool(self, name: str, size: int, connect_s: float) -> ConnectionPool:
        def make() -> Connection:
            return open_store(self._settings, f"taskhub {name}", connect_s=connect_s, index_only=True)

        return ConnectionPool(make, size, connect_s, idle_s=_IDLE_S)
