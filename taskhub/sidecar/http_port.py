"""The worker's HTTP port: a role that answers probes and scrapes, and outlasts whatever connects to it.

Nobody waits for the port: one that is in use is said in one line, and tried again.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress

from taskhub import listeners
from taskhub.domain.errors import UnavailableError
from taskhub.roles.role_thread import Role
from taskhub.roles.state import RoleState
from taskhub.sidecar.http_requests import HEAD_BYTES, Requests

_TURN_S = 0.5
_END_S = 1.0  # to drop what is open


class PortInUseError(UnavailableError):
    """Somebody else listens there."""


class HttpPort:
    """The port as a role: opened when it is made, served for a while by each step."""

    def __init__(self, host: str, port: int, requests: Requests) -> None:
        self._requests = requests
        self._loop = asyncio.new_event_loop()
        try:
            self._server = self._loop.run_until_complete(_listening(requests, host, port))
        except OSError as error:
            self._loop.close()
            if error.errno != errno.EADDRINUSE:
                raise
            holder = listeners.holder_of(port)
            raise PortInUseError(
                f"port {port} is in use{f' by {holder}' if holder else ''}: set TASKHUB_METRICS_PORT; "
                "until it is free there are no probes and no metrics, and jobs run"
            ) from error
        self.port = int(self._server.sockets[0].getsockname()[1])

    def step(self) -> None:
        self._loop.run_until_complete(asyncio.sleep(_TURN_S))

    def on_stop(self) -> None:
        """Close the port and whatever is connected to it."""
        self._server.close()
        with suppress(TimeoutError, asyncio.TimeoutError):
            self._loop.run_until_complete(asyncio.wait_for(self._requests.end(), _END_S))
        self._loop.close()


def port_role(host: str, port: int, requests: Requests, on_open: Callable[[int], None]) -> Callable[[RoleState], Role]:
    """The factory of the role; a free port that was once chosen is asked for again."""
    chosen = [port]

    def make(_state: RoleState) -> Role:
        opened = HttpPort(host, chosen[0], requests)
        chosen[0] = opened.port
        on_open(opened.port)
        return Role(opened.step, on_stop=opened.on_stop)

    return make


async def _listening(requests: Requests, host: str, port: int) -> asyncio.Server:
    """`::` is every address of this host, those of IPv4 as well; asyncio alone would leave these out."""
    if host != "::" or not socket.has_dualstack_ipv6():
        return await asyncio.start_server(requests.accept, host, port, limit=HEAD_BYTES, backlog=512)
    both = socket.create_server((host, port), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True)
    return await asyncio.start_server(requests.accept, sock=both, limit=HEAD_BYTES, backlog=512)
