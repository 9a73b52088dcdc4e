"""The worker's HTTP port against whoever connects to it."""

from __future__ import annotations

import gc
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest

from taskhub.sidecar import http_port, http_requests
from taskhub.sidecar.http_answer import HttpAnswer, checked
from taskhub.sidecar.http_port import HttpPort
from taskhub.sidecar.http_requests import Requests
from tests.waiting import stretched, wait_until


class Port:
    """An open port whose slow answers wait until they may go on."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        requests = Requests({"/livez": lambda: checked(True, {})}, {"/slow": self._slow, "/bad": self._bad})
        self._port = HttpPort("127.0.0.1", 0, requests)
        self._is_open = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port.port), timeout=10)

    def ask(self, sent: bytes) -> bytes:
        """Everything that comes back until the other side closes."""
        with self.connect() as client:
            client.sendall(sent)
            received = b""
            while chunk := client.recv(65536):
                received += chunk
            return received

    def get(self, path: str) -> bytes:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def close(self) -> None:
        self.gate.set()
        self._is_open = False
        self._thread.join()
        self._port.on_stop()

    def _serve(self) -> None:
        while self._is_open:
            self._port.step()

    def _slow(self) -> HttpAnswer:
        self.gate.wait(10)
        return checked(True, {})

    def _bad(self) -> HttpAnswer:
        raise SystemExit(3)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    monkeypatch.setattr(http_port, "_TURN_S", 0.02)
    monkeypatch.setattr(http_requests, "_LINGER_S", 0.1)
    made = Port()
    yield made
    made.close()


def test_the_body_of_a_get_is_not_answered_as_a_second_request(port: Port) -> None:
    body = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    for framing in (b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked", b"X: y"):
        answer = port.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + body)
        assert answer.count(b"HTTP/1.1 ") == 1, answer
        assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /livez?x=1 HTTP/1.0\n\n", 200),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"BREW /livez HTTP/1.1\r\n\r\n", 405),
        (b"GET /livez\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\n\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 4000 + b"\r\n", 431),
        (b"GET /bad HTTP/1.1\r\n\r\n", 500),
    ],
)
def test_each_request_gets_one_answer(port: Port, sent: bytes, status: int) -> None:
    assert port.ask(sent).startswith(b"HTTP/1.1 %d " % status)
    assert port.get("/livez").startswith(b"HTTP/1.1 200")


def test_head_has_no_body(port: Port) -> None:
    head, _, body = port.ask(b"HEAD /livez HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b""
    assert b"Content-Length: 0" not in head


def test_half_sent_requests_do_not_stop_the_others(port: Port) -> None:
    halves = [port.connect() for _ in range(300)]
    try:
        for half in halves:
            half.sendall(b"GET /livez HTTP/1.1\r\nHost:")
        with suppress(ConnectionResetError):
            assert halves[0].recv(1) == b"", "the oldest makes room"
        began = time.monotonic()
        assert port.get("/livez").startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < stretched(1)
    finally:
        for half in halves:
            half.close()


@pytest.mark.parametrize("turns", range(8))
def test_a_port_that_is_closed_leaves_nothing_of_its_connections(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """However far the loop has come with accepting, reading and answering them."""
    monkeypatch.setattr(http_port, "_TURN_S", 0)
    port = HttpPort("127.0.0.1", 0, Requests({"/livez": lambda: checked(True, {})}, {}))
    clients = [socket.create_connection(("127.0.0.1", port.port), timeout=10) for _ in range(20)]
    for client in clients[:10]:
        client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
    for _ in range(turns):
        port.step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        port.on_stop()
        del port
        gc.collect()
    for client in clients:
        with client, suppress(ConnectionResetError):
            assert client.recv(1) in (b"", b"H")
    assert [str(each.message) for each in caught] == []


def test_answers_that_wait_for_a_server_do_not_stop_livez(port: Port) -> None:
    waiting = [port.connect() for _ in range(40)]
    try:
        for client in waiting:
            client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        began = time.monotonic()
        assert port.get("/livez").startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < stretched(1)
        wait_until(lambda: port.get("/slow").startswith(b"HTTP/1.1 503"), 5, "more than may wait are refused at once")
    finally:
        port.gate.set()
        for client in waiting:
            client.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_every_address_of_ipv6_is_every_address_of_ipv4_too() -> None:
    port = HttpPort("::", 0, Requests({}, {}))
    try:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port.port), timeout=10) as client:
                assert client.getpeername()[1] == port.port
    finally:
        port.on_stop()
