"""Clients that wait, and clients that send slowly: one process holds them all, each comes again when it was answered.

Usage: crowd.py PORT WAITERS SLOW, with the ids of jobs in the first line of its input. Says `here` when all have come;
goes at the second line, or after ten minutes, and says what they were answered, by kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from itertools import cycle, islice

Pieces = Callable[[], AsyncIterator[bytes]]

_LONGEST_S = 600
_WAIT_S = 30
_HEAD = b"POST /jobs HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
_BODY = b'{"payload":{"type":"demo"}}'
_REQUEST = _HEAD + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY


class Heard:
    """What was answered, by kind of client; who has come."""

    def __init__(self, expected: int) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.all_here = asyncio.Event()
        self._expected = expected

    def came(self) -> None:
        self._expected -= 1
        if self._expected == 0:
            self.all_here.set()


async def come(port: int, kind: str, pieces: Pieces, heard: Heard) -> None:
    """One client, for ever: connect, send, read the answer, again on the same connection while that is kept."""
    is_new = True
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            is_kept = True
            while is_kept:
                sending = asyncio.ensure_future(send(writer, pieces))
                if is_new:
                    is_new = False
                    heard.came()
                try:
                    status, is_kept = await answer(reader)
                finally:
                    sending.cancel()
                heard.counts[kind][status] += 1
        except OSError as error:
            heard.counts[kind][type(error).__name__] += 1
        except asyncio.CancelledError:
            heard.counts[kind]["holding"] += 1
            raise
        finally:
            writer.transport.abort()


async def send(writer: asyncio.StreamWriter, pieces: Pieces) -> None:
    with contextlib.suppress(OSError):
        async for piece in pieces():
            writer.write(piece)
            await writer.drain()


async def answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Status and whether the connection is kept; an end without an answer is `closed`."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return "closed", False
    fields = head.decode("latin-1").lower().split("\r\n")
    length = next((int(field[15:]) for field in fields if field.startswith("content-length:")), 0)
    await reader.readexactly(length)
    return fields[0].split()[1], "connection: close" not in fields


def once(data: bytes) -> Pieces:
    async def pieces() -> AsyncIterator[bytes]:
        yield data

    return pieces


async def byte_by_byte() -> AsyncIterator[bytes]:
    for byte in _REQUEST:
        yield bytes([byte])
        await asyncio.sleep(1)


SLOW = {
    "half a head": once(_HEAD),
    "half a body": once(_REQUEST[:-10]),
    "a byte a second": byte_by_byte,
    "silent": once(b""),
}


async def main() -> None:
    port, waiters, slow = (int(argument) for argument in sys.argv[1:])
    asked = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    jobs = (await asked.readline()).decode().split()
    heard = Heard(waiters + slow)
    look = "GET /jobs/{}?wait={} HTTP/1.1\r\nHost: bench\r\n\r\n"
    clients = [("waiting", once(look.format(job, _WAIT_S).encode())) for job in islice(cycle(jobs), waiters)]
    clients += islice(cycle(SLOW.items()), slow)
    tasks = [asyncio.ensure_future(come(port, kind, pieces, heard)) for kind, pieces in clients]
    await asyncio.wait_for(heard.all_here.wait(), _LONGEST_S)
    print("here", flush=True)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asked.readline(), _LONGEST_S)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            heard.counts["crowd"][repr(error)] += 1
    print(json.dumps(heard.counts))


if __name__ == "__main__":
    asyncio.run(main())
