"""Submit jobs over HTTP from Python, with nothing but the standard library beneath.

- Connections are kept and shared by threads, each used by one at a time; a forked process makes its own.
- Every submission bears an Idempotency-Key, so one whose answer was lost is repeated and still is one job.
"""

from __future__ import annotations

import http.client
import json
import os
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from taskhub import clock
from taskhub.domain.asked import plain_options, plain_payload, typed_payload
from taskhub.domain.errors import TaskhubError, UnavailableError
from taskhub.domain.job import TERMINAL

if TYPE_CHECKING:
    from typing_extensions import Self

_WAIT_AT_ONCE_S = 20.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class ClientError(TaskhubError):
    """The API refused a request; `code` and `problem` say why, as its answer does."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        details = [f"{each.get('path')}: {each.get('message')}" for each in problem.get("errors", [])]
        super().__init__("; ".join([str(problem.get("detail") or problem.get("title") or status), *details]))
        self.status = status
        self.code = str(problem.get("code", "internal"))
        self.problem = problem


class Client:
    """The API at `url`, for all threads of one process.

    key: an API key. timeout_s: for one request. retry_s: how long a request whose answer was lost, or that
    was told to come again, is repeated: all of them are safe to repeat.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = 10.0, retry_s: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http:// or https:// address")
        self._is_secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._idle: list[http.client.HTTPConnection] = []  # append and pop are atomic
        self._pid = os.getpid()

    def submit(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> str:
        """Submit a job and return its id, the holder's if `unique_key` is held. Options and values as for `Producer`.

        idempotency_key: the same key is the same job, also from another process; None makes one for this call.
        Raises InvalidInputError for what could not be sent, ClientError for what the API refuses, UnavailableError.
        """
        body = {"payload": plain_payload(typed_payload(type, payload or {})), **plain_options(options)}
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return str(self._ask("POST", "/jobs", body, headers)["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        return self._ask("GET", f"/jobs/{quote(job_id, safe='')}")

    def wait(self, job_id: str, timeout_s: float) -> dict[str, Any]:
        """The job once it has ended, or as it is after `timeout_s`."""
        deadline = clock.monotonic_s() + timeout_s
        while True:
            wait_s = min(_WAIT_AT_ONCE_S, max(0.0, deadline - clock.monotonic_s()))
            job = self._ask("GET", f"/jobs/{quote(job_id, safe='')}?wait={wait_s:.3f}", patience_s=wait_s)
            if job["status"] in TERMINAL or clock.monotonic_s() >= deadline:
                return job

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job; if it is running, its worker is asked to stop it."""
        return self._ask("POST", f"/jobs/{quote(job_id, safe='')}/cancel", {})

    def close(self) -> None:
        """Leave the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        patience_s: float = 0.0,
    ) -> dict[str, Any]:
        """One answer. Raises ClientError; UnavailableError when the time for repeating is over."""
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        sent = {**self._headers, **({"Content-Type": "application/json"} if data else {}), **(headers or {})}
        deadline = clock.monotonic_s() + self._retry_s + patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                status, answer = self._send(method, self._base + path, data, sent, self._timeout_s + patience_s)
            except (OSError, http.client.HTTPException) as error:
                failure = UnavailableError(f"no answer from the API: {type(error).__name__}: {error}")
            else:
                if status < 400:
                    return answer
                if status not in (429, 502, 503, 504):
                    raise ClientError(status, answer)
                failure = UnavailableError(str(answer.get("detail") or status))
            if clock.monotonic_s() + pause_s >= deadline:
                raise failure
            clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _send(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], wait_s: float
    ) -> tuple[int, dict[str, Any]]:
        connection = self._take(wait_s)
        try:
            connection.request(method, path, data, dict(headers))
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return response.status, answer
        refusal = {
            "detail": f"the answer with status {response.status} is not a JSON object: is this taskhub's address?"
        }
        if response.status < 400:
            raise ClientError(response.status, refusal)
        return response.status, refusal

    def _take(self, wait_s: float) -> http.client.HTTPConnection:
        """A connection for one request."""
        if self._pid != os.getpid():
            self.close()  # our ends of connections that the other process goes on using
            self._pid = os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
            connection = kind(self._host, self._port)
        connection.timeout = wait_s
        if connection.sock is not None:
            connection.sock.settimeout(wait_s)
        return connection
