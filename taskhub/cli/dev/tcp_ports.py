"""Looking at our programs from outside: are their ports free, are they ready, what do they run?"""

from __future__ import annotations

import contextlib
import errno
import http.client
import re
import socket

from taskhub import addresses, listeners

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (to translate, not to bind)
_MOST_BYTES = 4 * 1024 * 1024  # of an answer: whoever listens there may be a stranger
_ACTIVE = re.compile(r"^worker_active_processes(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def trouble(host: str, port: int, setting: str) -> str | None:
    """Why nobody could listen there now, in one line that names what to set; None if somebody could."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return f"TASKHUB_HTTP_HOST={host} is not an address of this host ({_reason(error)}): set another"
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(1)
        except OSError as error:
            return _told(error, host, port, setting)
    return None


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.bind(address)
        return int(listener.getsockname()[1])


def url(host: str, port: int) -> str:
    """Where a person or a program on this machine reaches what listens on `host`."""
    return f"http://{addresses.in_url(_ANY.get(host, host))}:{port}"


def is_ready(host: str, port: int) -> bool:
    """True if `/readyz` says so."""
    status, _ = _get(host, port, "/readyz")
    return status == 200


def is_taskhub(host: str, port: int) -> bool:
    """True if an API or a worker of taskhub answers there."""
    _, body = _get(host, port, "/metrics")
    return "\ntaskhub_" in body


def running_jobs(host: str, port: int) -> int | None:
    """How many children of the worker run a job, by its metrics; None if it does not tell."""
    _, body = _get(host, port, "/metrics")
    values = _ACTIVE.findall(body)
    return round(sum(map(float, values))) if values else None


def _told(error: OSError, host: str, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = listeners.holder_of(port)
        return (
            f"{setting}: port {port} on {host} is in use{f' by {holder}' if holder else ''}: end that, or set another"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"TASKHUB_HTTP_HOST={host} is not an address of this host: set another"
    return f"{setting}: cannot listen on port {port} of {host} ({_reason(error)}): set another"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "not a host name"


def _get(host: str, port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(_ANY.get(host, host), port, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES).decode(errors="replace")
    return 0, ""
