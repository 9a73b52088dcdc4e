"""Looking at our programs from outside: are their ports free, are they ready, what do they run?"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket

from taskhub.embedded.process import EmbeddedError

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (to translate, not to bind)
_ACTIVE = re.compile(r"^worker_active_processes(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def require_free(host: str, port: int, setting: str) -> None:
    """Raise EmbeddedError, which names the setting, if nobody could listen there now."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as error:
        raise EmbeddedError(f"cannot listen on {host} port {port} ({error.strerror}): set {setting}") from error


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


def is_ready(host: str, port: int) -> bool:
    """True if `/readyz` says so."""
    status, _ = _get(host, port, "/readyz")
    return status == 200


def running_jobs(host: str, port: int) -> int | None:
    """How many children of the worker run a job, by its metrics; None if it does not tell."""
    _, body = _get(host, port, "/metrics")
    values = _ACTIVE.findall(body)
    return round(sum(map(float, values))) if values else None


def _get(host: str, port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(_ANY.get(host, host), port, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    return 0, ""
