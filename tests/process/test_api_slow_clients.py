"""Clients that send or read slowly, on the API as it is served: they take no thread, and each stage has its end."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.fixtures import MakeApi
from tests.harness.programs import Api
from tests.harness.shared_api import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.shared_api import shared_api
from tests.waiting import pause

JOB = b'{"payload":{"type":"echo"}}'
HEAD = b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HALVES = {
    "a head": HEAD,
    "a body": HEAD + b"Content-Length: 500\r\n\r\n{",
    "a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{",
}
MIB = 1 << 20


running = shared_api()


def connect(port: int, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))


@pytest.mark.slow
def test_clients_that_send_half_a_request_hold_up_nobody_and_are_ended(running: Api) -> None:
    with ExitStack() as stack:
        links = []
        for half in HALVES.values():
            for _ in range(100):
                links.append(connect(running.port, stack))
                links[-1].sendall(half)
        with running.http() as client:
            for _ in range(50):
                client.submit("echo")
        for link in links[::20]:
            assert b"HTTP/1.1 408 " in link.recv(65_536)


def test_clients_that_do_not_read_hold_up_nobody(running: Api) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            link = connect(running.port, stack)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            link.setblocking(False)
            try:
                for _ in range(60):
                    link.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            except BlockingIOError:
                pass
        with running.http() as client:
            assert len({client.submit("echo") for _ in range(20)}) == 20


def test_what_comes_byte_by_byte_is_accepted(running: Api) -> None:
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in JOB) + b"0\r\n\r\n"
    for request in (
        HEAD + b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
    ):
        with ExitStack() as stack:
            link = connect(running.port, stack)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in request:
                link.sendall(bytes([byte]))
                pause(0.001)
            assert link.recv(65_536).startswith(b"HTTP/1.1 202 ")


def test_requests_sent_at_once_are_answered_in_order(running: Api) -> None:
    with ExitStack() as stack:
        link = connect(running.port, stack)
        posts = HEAD + b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB
        link.sendall((posts + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") * 20 + b"GET /nope HTTP/1.0\r\n\r\n")
        received = b""
        while data := link.recv(65_536):
            received += data
        statuses = [int(part[:3]) for part in received.split(b"HTTP/1.")[1:] for part in [part[2:]]]
        assert statuses == [202, 200] * 20 + [404]


def test_what_unfinished_bodies_take_is_bounded(api: MakeApi) -> None:
    with api() as fresh, ExitStack() as stack:
        [process] = fresh.children()
        before = _rss_bytes(process)
        for _ in range(16):
            link = connect(fresh.port, stack)
            try:
                link.sendall(
                    HEAD.replace(b"/jobs", b"/jobs/bulk")
                    + b"Content-Length: %d\r\n\r\n" % (15 * MIB)
                    + b" " * (12 * MIB)
                )
            except OSError:
                continue
        assert _rss_bytes(process) - before < 110 * MIB
        with fresh.http() as client:
            client.submit("echo")


def _rss_bytes(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024
