"""POST /jobs on kept connections, each with one request at a time; the same for every side, and cheap.

One thread, a selector, a request that is made once: on a small machine the generator's own work is a part of what is
measured, and a client library would be most of it. Run as `python post_loop.py PORT CONNECTIONS SECONDS`; says in JSON
how many were answered with 202, in how many seconds, and how long they took, in milliseconds.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time

_ANSWER_S = 30
_BODY = b'{"payload":{"type":"demo","number":1}}'
_REQUEST = (
    b"POST /jobs HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class Client:
    """One connection: a request, its whole answer, the next."""

    def __init__(self, port: int) -> None:
        self.took: list[float] = []
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sent, self._answer = 0.0, b""

    def send(self) -> None:
        self._sent, self._answer = time.monotonic(), b""
        self.socket.sendall(_REQUEST)

    def read(self) -> bool:
        """True when the answer is complete."""
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("the server closed a kept connection")
        self._answer += part
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return False
        if b" 202 " not in head[:16]:
            raise ConnectionError(self._answer.decode(errors="replace"))
        self.took.append((time.monotonic() - self._sent) * 1000)
        return True


def _length(head: bytes) -> int:
    [line] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(line[15:])


def main(port: int, connections: int, seconds: float) -> None:
    clients = [Client(port) for _ in range(connections)]
    waiting = selectors.DefaultSelector()
    for client in clients:
        client.send()
        while not client.read():  # the first answer is not counted: the server may still be importing
            pass
        waiting.register(client.socket, selectors.EVENT_READ, client)
    for client in clients:
        client.took.clear()
        client.send()
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        ready = waiting.select(_ANSWER_S)
        if not ready:
            raise TimeoutError(f"no answer within {_ANSWER_S} s")
        for key, _ in ready:
            if key.data.read():
                key.data.send()
    took = sorted(each for client in clients for each in client.took)
    spent = time.monotonic() - begin
    p50, p99 = statistics.median(took), took[int(len(took) * 0.99)]
    print(json.dumps({"requests/s": len(took) / spent, "p50 ms": p50, "p99 ms": p99}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
