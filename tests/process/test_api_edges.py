"""HTTP's edges, on the API as it is served: what is refused is a problem document at once; nothing is smuggled."""

from __future__ import annotations

import json
import socket
import time

from tests.harness.programs import Api
from tests.harness.raw_http import CHUNKED, JSON, ask, chunks, head
from tests.harness.rows import Rows
from tests.harness.shared_api import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.shared_api import shared_api
from tests.waiting import stretched

_JOB = b'{"payload":{"type":"echo"}}'
_LIMIT = 65_536


# SCRIPT_NAME may be there for other servers; gunicorn believes it.
running = shared_api(TASKHUB_MAX_BODY_BYTES=str(_LIMIT), SCRIPT_NAME="/nope")

SMUGGLED = head("Connection: close", line="GET /livez HTTP/1.1")
REFUSED = {
    "a chunked body that is too large, with a valid beginning": (
        head(JSON, CHUNKED) + chunks(_JOB + b" " * (_LIMIT * 3)), 413),
    "one that does not end": (head(JSON, CHUNKED) + b"%x\r\n" % (_LIMIT * 9) + _JOB + b" " * _LIMIT * 2, 413),
    "a length that is too large": (head(JSON, "Content-Length: 999999999"), 413),
    "a length beyond all numbers": (head(JSON, "Content-Length: 9" + "9" * 400), 413),
    "no route": (head(JSON, "Content-Length: 100", line="POST /nope HTTP/1.1"), 404),
    "no such method": (head(JSON, "Content-Length: 100", line="PUT /jobs HTTP/1.1"), 405),
    "another type": (head("Content-Type: text/plain", "Content-Length: 100"), 415),
    "a coded body": (head(JSON, "Content-Encoding: gzip", "Content-Length: 100"), 415),
    "refused, though 100 is asked for": (
        head("Content-Type: text/plain", "Content-Length: 9", "Expect: 100-continue"), 415),
    "another expectation": (head(JSON, "Content-Length: 100", "Expect: 200-ok"), 417),
    "gzip, chunked": (head(JSON, "Transfer-Encoding: gzip, chunked") + chunks(_JOB), 501),
    "gzip and chunked": (head(JSON, "Transfer-Encoding: gzip", CHUNKED) + chunks(_JOB), 501),
    "identity, chunked": (head(JSON, "Transfer-Encoding: identity, chunked") + chunks(_JOB), 501),
    "chunked twice": (head(JSON, "Transfer-Encoding: chunked, chunked") + chunks(_JOB), 400),
    "an unknown coding": (head(JSON, "Transfer-Encoding: xchunked") + chunks(_JOB), 501),
    "length and chunked": (head(JSON, CHUNKED, f"Content-Length: {len(_JOB)}") + chunks(_JOB), 400),
    "two lengths": (head(JSON, "Content-Length: 5", f"Content-Length: {len(_JOB)}") + _JOB, 400),
    "a signed length": (head(JSON, f"Content-Length: +{len(_JOB)}") + _JOB, 400),
    "a negative length": (head(JSON, "Content-Length: -1") + _JOB, 400),
    "a folded line": (head(JSON, "X: a", " b", "Content-Length: 2") + b"{}", 400),
    "a bare line feed": (b"POST /jobs HTTP/1.1\nHost: x\n\n", 400),
    "a NUL": (head(JSON, "X: a\0b", "Content-Length: 2") + b"{}", 400),
    "a space before a colon": (head(JSON, "Content-Length : 2") + b"{}", 400),
    "a bad chunk": (head(JSON, CHUNKED) + b"zz\r\n" + _JOB + b"\r\n0\r\n\r\n", 400),
    "a chunk without its end": (head(JSON, CHUNKED) + b"2\r\n{}xx0\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a long line": (head(line="GET /" + "a" * 9_000 + " HTTP/1.1"), 414),
    "many fields": (head(*(f"A{n}: b" for n in range(150)), line="GET /livez HTTP/1.1"), 431),
    "a large field": (head("A: " + "b" * 9_000, line="GET /livez HTTP/1.1"), 431),
    "a tunnel": (head(line="CONNECT x:80 HTTP/1.1"), 404),
}  # fmt: skip


def test_what_is_refused_is_refused_at_once_as_a_problem(running: Api, rows: Rows) -> None:
    wrong = []
    for name, (request, wanted) in REFUSED.items():
        began = time.monotonic()
        try:
            statuses, answer = ask(running.port, request)
        except OSError as error:
            wrong.append((name, repr(error)))
            continue
        took_s = time.monotonic() - began
        fields, _, body = answer.partition(b"\r\n\r\n")
        is_problem = b"application/problem+json" in fields and b"X-Request-Id:" in fields and b'"request_id"' in body
        if statuses != [wanted] or took_s > 3 or not is_problem:
            wrong.append((name, f"{statuses} {took_s:.1f} {answer[:300]!r}"))
    assert wrong == []
    assert rows.value("SELECT count(*) FROM jobs") == 0
    assert running.events("request.failed") == []


def test_an_answer_does_not_wait_for_the_body_of_what_is_refused(running: Api) -> None:
    for request, wanted in (
        value for name, value in REFUSED.items() if name in ("no route", "another type", "a coded body")
    ):
        with socket.create_connection(("127.0.0.1", running.port), timeout=5) as link:
            began = time.monotonic()
            link.sendall(request)
            assert b" %d " % wanted in link.recv(65_536)
            assert time.monotonic() - began < stretched(1)


def test_a_body_is_asked_for_when_it_is_wanted(running: Api) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as link:
        link.sendall(head(JSON, f"Content-Length: {len(_JOB)}", "Expect: 100-continue"))
        assert link.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(_JOB)
        answer = b""
        while not answer.endswith(b"}"):
            answer += link.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 202 ")
        link.sendall(SMUGGLED)
        assert link.recv(65_536).startswith(b"HTTP/1.1 200 "), "the connection is kept"


def test_no_second_request_is_found_in_a_body_and_no_header_is_a_proxys(running: Api) -> None:
    inside = ask(running.port, head("Content-Type: text/plain", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED)
    assert inside[0] == [415]
    get = head(f"Content-Length: {len(SMUGGLED)}", line="GET /livez HTTP/1.1") + SMUGGLED + SMUGGLED
    assert ask(running.port, get)[0] == [200, 200]
    believed = ("SCRIPT_NAME: /nope", "SCRIPT-NAME: /nope", "PATH_INFO: /nope", "X-Forwarded-Proto: https",
                "X-Forwarded-Ssl: on", "X-Forwarded-Prefix: /nope", "REMOTE_USER: root")  # fmt: skip
    for field in believed:
        assert ask(running.port, head(field, "Connection: close", line="GET /livez HTTP/1.1"))[0] == [200]
    both = ask(running.port, head("X-Forwarded-Protocol: ssl", "X-Forwarded-Ssl: off", "Connection: close",
                                  line="GET /livez HTTP/1.1"))  # fmt: skip
    assert both[0] == [200]
    for odd in ("a b", "a\tb", "x" * 65, "<script>", "\xe9"):
        _, answer = ask(running.port, head(f"X-Request-Id: {odd}", "Connection: close", line="GET /livez HTTP/1.1"))
        assert odd.encode("latin-1") not in answer
    _, answer = ask(running.port, head("X-Request-Id: mine-1", "Connection: close", line="GET /jobs/x HTTP/1.1"))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"] == "mine-1"


def test_clients_that_do_not_close_after_a_refusal_hold_up_nobody(running: Api) -> None:
    links = [socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(20)]
    for link in links:
        link.sendall(REFUSED["a bare line feed"][0])
        assert link.recv(65_536)
    began = time.monotonic()
    assert ask(running.port, SMUGGLED)[0] == [200]
    assert time.monotonic() - began < stretched(1)
    for link in links:
        link.close()
