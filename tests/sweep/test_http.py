"""Odd requests, mutated from valid ones: never a 5xx but an honest one, never a hang, and the API serves afterwards."""

from __future__ import annotations

import re
import socket

import pytest

from tests.harness.fixtures import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.fixtures import MakeApi
from tests.sweep.drawing import drawn, rng

MEMBERS = range(1_000)
JOB = b'{"payload":{"type":"echo"}}'
VALID = [
    b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n" + JOB,
    b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n"
    + JOB
    + b"\r\n0\r\n\r\n",
    b"GET /jobs/x?wait=0 HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n\r\n",
    b"POST /jobs/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
]
PARTS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b":",
    b" ",
    b"0",
    b"-1",
    b"%00",
    b"\xff",
    b"Content-Length: 5\r\n",
    b"Expect: 100-continue\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"ffffffffffffffff\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.0",
    b"A" * 9_000,
]
HONEST = {b"501", b"503", b"505"}


def odd_request(number: int) -> bytes:
    """The same for the same number and seed."""
    chance = rng(f"http-{number}")
    data = chance.choice(VALID) * chance.choice((1, 1, 1, 2))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at] + chance.choice(PARTS) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + chance.randint(1, 12) :]
        elif kind == 2:
            data = data[:at] + chance.randbytes(chance.randint(1, 6)) + data[at:]
        elif kind == 3:
            data = data[: at + 1]
        else:
            data = data[:at] + chance.choice(VALID) + data[at:]
    return data


@pytest.mark.timeout(300)
def test_no_odd_request_gets_a_5xx_or_hangs(api: MakeApi) -> None:
    with api(TASKHUB_API_PROCESSES="1") as running:
        for number in drawn("http", MEMBERS, 60):
            request, received = odd_request(number), b""
            with socket.create_connection(("127.0.0.1", running.port), timeout=10) as link:
                try:
                    link.sendall(request)
                    link.shutdown(socket.SHUT_WR)
                    while data := link.recv(65_536):
                        received += data
                except ConnectionError:
                    pass  # an answer too; a time-out is not
            statuses = re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)
            assert not [each for each in statuses if each >= b"500" and each not in HONEST], (number, request, received)
        assert running.events("request.failed") == []
        assert running.events("connection.failed") == []
        with running.http() as client:
            client.submit("echo")
