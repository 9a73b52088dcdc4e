"""The requests to a worker's HTTP port: each connection is one, and costs no thread before its answer must be made.

Invariants:
- A connection's answer says `Connection: close`, so no body is ever read as a second request.
- Heads are read by one loop, bounded in bytes and in time; beyond the bound of connections, the one that has waited
  longest for its head gives way to the next.
- `/livez` is answered by the loop itself, from memory. What may wait for a server is made by a few threads
  with a bounded queue and a time limit; without an answer in time it is 503, and others are not held up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from taskhub.logs import get_logger
from taskhub.sidecar.http_answer import HttpAnswer, plain

log = get_logger(__name__)

HEAD_BYTES = 16 * 1024

_HEAD_S = 5.0  # to send a head, from the connection on
_ANSWER_S = 8.0  # to make an answer; Prometheus waits for 10
_SEND_S = 5.0  # to take the answer
_LINGER_S = 1.0  # for the client to read it, whatever it still sends
_CONNECTIONS = 256
_THREADS = 3
_TURNS_OF_ACCEPTING = 5  # of the loop, from a connection in its hands to one in ours
_IN_WORK = 16  # answers that threads make or are to make

Route = Callable[[], HttpAnswer]


class Requests:
    """The open connections of one port, and how each is answered. quick: from memory; slow: by a thread."""

    def __init__(self, quick: dict[str, Route], slow: dict[str, Route]) -> None:
        self._quick = quick
        self._slow = slow
        self._places = threading.BoundedSemaphore(_IN_WORK)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="http")
        self._heads: dict[asyncio.Task[None], None] = {}  # who still waits for a head, the oldest first
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client has connected."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._has_ended)

    async def end(self) -> None:
        """Drop every connection; returns when the loop holds nothing of them any more."""
        for _ in range(_TURNS_OF_ACCEPTING):  # what the loop was just accepting
            await asyncio.sleep(0)
        for task in list(self._open):
            task.cancel()
        while self._open:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # each is closed in the turn after its end

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._heads.pop(task, None)
        self._open.pop(task).transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its request to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._heads[task] = None
        if len(self._heads) > _CONNECTIONS:
            next(iter(self._heads)).cancel()
        with suppress(OSError, TimeoutError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            answer, has_body = await self._answer(reader, task)
            writer.write(answer.head() + (answer.body if has_body else b""))
            await asyncio.wait_for(writer.drain(), _SEND_S)
            writer.write_eof()
            await asyncio.wait_for(_until_gone(reader), _LINGER_S)

    async def _answer(self, reader: asyncio.StreamReader, task: asyncio.Task[None]) -> tuple[HttpAnswer, bool]:
        """The answer, and whether its body is wanted."""
        try:
            method, path, is_http = _parsed(await asyncio.wait_for(_line_of_head(reader), _HEAD_S))
        except ValueError:
            return plain(431), True
        except (TimeoutError, asyncio.TimeoutError):
            return plain(408), True
        finally:
            self._heads.pop(task, None)
        if not is_http:
            return plain(400), True
        if method not in ("GET", "HEAD"):
            return plain(405, Allow="GET, HEAD"), True
        return await self._route(path), method == "GET"

    async def _route(self, path: str) -> HttpAnswer:
        if path in self._quick:
            return _answered(path, self._quick[path])
        if path not in self._slow:
            return plain(404)
        if not self._places.acquire(blocking=False):
            return plain(503)
        try:
            work = self._threads.submit(_answered, path, self._slow[path])
        except (RuntimeError, MemoryError):  # no thread can be started
            self._places.release()
            return plain(503)
        work.add_done_callback(lambda _: self._places.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), _ANSWER_S)
        except (TimeoutError, asyncio.TimeoutError):
            return plain(503)


async def _line_of_head(reader: asyncio.StreamReader) -> bytes:
    """The request line, once the whole head is here. Raises ValueError if it is too large."""
    first, size = b"", 0
    while True:
        line = await reader.readline()
        size += len(line)
        if size > HEAD_BYTES:
            raise ValueError("head too large")
        if not line:
            raise asyncio.IncompleteReadError(b"", None)
        if line in (b"\r\n", b"\n") and first:
            return first
        first = first or line.strip()


def _parsed(line: bytes) -> tuple[str, str, bool]:
    """Method, path without its query, and whether this is a request at all."""
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return "", "", False
    return parts[0], parts[1].partition("?")[0], True


async def _until_gone(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def _answered(path: str, route: Route) -> HttpAnswer:
    """The answer of a route, whatever it raises: an exit asked for here must not end the loop."""
    try:
        return route()
    except BaseException:
        log.exception("probe.failed", extra={"path": path, "text": "an error on our side: answered 500"})
        return plain(500)
