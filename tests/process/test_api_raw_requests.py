"""Requests that no proper client sends, on the API as it is served: each has its one answer, and no place for a second.

What is refused as a problem document is in test_api_edges.py; here is what must not be misread.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.harness.programs import Api
from tests.harness.raw_http import CHUNKED, JSON, ask, chunks, head
from tests.harness.rows import Rows
from tests.harness.shared_api import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.shared_api import shared_api
from tests.waiting import pause, wait_until

JOB = b'{"payload":{"type":"echo"}}'
SIZE = f"Content-Length: {len(JOB)}"
END = "Connection: close"
NEXT = head(END, line="GET /livez HTTP/1.1")


def job(*lines: str, line: str = "POST /jobs HTTP/1.1") -> bytes:
    return head(JSON, SIZE, END, *lines, line=line) + JOB


def typed(kind: str) -> bytes:
    return head(f"Content-Type: {kind}", SIZE, END) + JOB


def sized(length: str) -> bytes:
    return head(JSON, f"Content-Length: {length}", END) + JOB


def coded(coding: str, *lines: str) -> bytes:
    return head(JSON, f"Transfer-Encoding: {coding}", END, *lines) + chunks(JOB)


def chunked(body: bytes) -> bytes:
    return head(JSON, CHUNKED, END) + body


def get(target: str, *lines: str) -> bytes:
    return head(*lines, END, line=f"GET {target} HTTP/1.1")


def spoken(version: str) -> bytes:
    return head(END, line=f"GET /livez {version}")


CHUNK = b"1b\r\n" + JOB + b"\r\n"
LAST = b"\r\n" + JOB + b"\r\n0\r\n\r\n"
ANSWERED = {
    "a length twice": (head(JSON, SIZE, SIZE, END) + JOB, [400]),
    "a list of lengths": (sized("27, 27"), [400]),
    "no digits": (sized(""), [400]),
    "a digit above the line": (sized("2\xb3"), [400]),
    "a hexadecimal length": (sized("0x1b"), [400]),
    "a length with a stroke": (sized("2_7"), [400]),
    "a length with leading zeros": (sized("0000027"), [202]),
    "a length beyond what is a number": (sized("9" * 5_000), [400]),
    "a folded coding": (head(JSON, "Transfer-Encoding:", " chunked", END) + chunks(JOB), [400]),
    "a bare carriage return": (job("X: a\rb"), [400]),
    "a NUL in a name": (job("X\0: a"), [400]),
    "a NUL in the path": (get("/li\0vez"), [400]),
    "an encoded NUL in the path": (get("/jobs/%00"), [404]),
    "a byte above ASCII in the path": (get("/\x80"), [400]),
    "encodings that are none": (get("/jobs/%zz%"), [404]),
    "an encoded queue": (head(JSON, "Content-Length: 45", END) + JOB[:-1] + b',"queue":"%00%2e%"}', [422]),
    "a whole address": (get("http://other/livez"), [200]),
    "a whole address of nothing": (get("http://other"), [404]),
    "an address that is none": (get("http://[::1/livez"), [400]),
    "a job at a whole address": (job(line="POST http://other/jobs HTTP/1.1"), [202]),
    "another host": (get("//other/livez"), [404]),
    "everything": (head(END, line="OPTIONS * HTTP/1.1"), [404]),
    "many chunks of one byte": (chunked(b"1\r\n \r\n" * 100_000 + CHUNK + b"0\r\n\r\n"), [400]),
    "some chunks of one byte": (chunked(b"1\r\n \r\n" * 1_000 + CHUNK + b"0\r\n\r\n"), [202]),
    "a chunk of 17 digits": (chunked(b"1" + b"0" * 16 + LAST), [400]),
    "a chunk of 0x1b": (chunked(b"0x1b" + LAST), [400]),
    "a signed chunk": (chunked(b"+1b" + LAST), [400]),
    "a chunk with a stroke": (chunked(b"1_b" + LAST), [400]),
    "a chunk with a space before": (chunked(b" 1b" + LAST), [400]),
    "a chunk with an extension": (chunked(b'1b;a=b;c="d e"' + LAST), [202]),
    "a chunk with a bad extension": (chunked(b"1b;=\0" + LAST), [400]),
    "an extension with a line feed": (chunked(b"1b;a\n" + LAST), [400]),
    "an extension with a carriage return": (chunked(b"1b;a\rb" + LAST), [400]),
    "an extension without end": (chunked(b"1b;a=" + b"x" * 9_000 + LAST), [400]),
    "trailers": (chunked(CHUNK + b"0\r\nX-A: b\r\n\r\n"), [202]),
    "a length as trailer": (chunked(CHUNK + b"0\r\nContent-Length: 5\r\n\r\n"), [400]),
    "a trailer that is none": (chunked(CHUNK + b"0\r\nbad\r\n\r\n"), [400]),
    "trailers without end": (chunked(CHUNK + b"0\r\n" + b"A: b\r\n" * 20_000), [400]),
    "an empty expectation": (job("Expect:"), [417]),
    "a list of expectations": (job("Expect: 100-continue, x"), [417]),
    "an expectation twice": (job("Expect: 100-continue", "Expect: 100-continue"), [202]),
    "an expectation of HTTP/1.0": (job("Expect: 100-continue", line="POST /jobs HTTP/1.0"), [202]),
    "an expectation without a body": (get("/livez", "Expect: 100-continue"), [200]),
    "an upgrade": (head("Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "Connection: Upgrade, HTTP2-Settings", END,
                        line="GET /livez HTTP/1.1"), [200]),
    "an end in a list": (head("Connection: keep-alive, close", line="GET /livez HTTP/1.1"), [200]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", [400]),
    "HTTP/0.9": (spoken("HTTP/0.9"), [400]),
    "HTTP/1.2": (spoken("HTTP/1.2"), [200]),
    "HTTP/1.9, twice": (head(line="GET /livez HTTP/1.9") + NEXT, [200, 200]),
    "HTTP/1.10": (spoken("HTTP/1.10"), [400]),
    "http/1.1": (spoken("http/1.1"), [400]),
    "tabs": (head(END, line="GET\t/livez\tHTTP/1.1"), [400]),
    "two spaces": (head(END, line="GET  /livez HTTP/1.1"), [400]),
    "a space first": (b" " + NEXT, [400]),
    "an empty line first": (b"\r\n" + NEXT, [200]),
    "two hosts": (get("/livez", "Host: y"), [400]),
    "a field without a name": (get("/livez", ": x"), [400]),
    "a field without a colon": (get("/livez", "X"), [400]),
    "a deletion": (get("/livez", "X: a\x7f"), [400]),
    "a proxy's first line": (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + NEXT, [400]),
    "no coding, and a length": (head(JSON, "Transfer-Encoding:", SIZE, END) + JOB, [501]),
    "identity": (head(JSON, "Transfer-Encoding: identity", SIZE, END) + JOB, [400]),
    "CHUNKED": (coded("CHUNKED"), [202]),
    "chunked with a parameter": (coded("chunked;q=1"), [501]),
    "chunked in quotes": (coded('"chunked"'), [501]),
    "chunked with an odd space": (coded("\x0bchunked"), [400]),
    "chunked and another odd space": (coded("chunked\xa0"), [501]),
    "chunked after nothing": (coded(",chunked"), [501]),
    "chunked in HTTP/1.0": (head(JSON, CHUNKED, line="POST /jobs HTTP/1.0") + chunks(JOB), [400]),
    "a length under another name": (job("Content_Length: 5"), [202]),
    "another alphabet": (typed("application/json; charset=iso-8859-1"), [415]),
    "another alphabet, in a second place": (typed("application/json; charset*=utf-8''utf-7"), [415]),
    "a part of an alphabet far away": (typed("application/json; charset*999999999999=x"), [415]),
    "an alphabet in quotes": (typed('application/json; charset="UTF-8"'), [202]),
    "a type twice": (head(JSON, JSON, SIZE, END) + JOB, [400]),
    "a list of types": (typed("application/json, text/plain"), [415]),
    "many parameters": (typed("application/json" + ";a=b" * 1_500), [202]),
    "codings twice": (job("Content-Encoding: identity", "Content-Encoding: gzip"), [415]),
    "a wait that is no number": (get("/jobs/x?wait=nan"), [422]),
    "ten waits": (get("/jobs/x?" + "&".join(["wait=1"] * 10)), [422]),
    "a long wait for nothing": (get("/jobs/x?wait=1e9"), [404]),
    "the next after a 404": (head(line="GET /nope HTTP/1.1") + NEXT, [404, 200]),
    "the next after bad JSON": (head(JSON, "Content-Length: 1") + b"{" + NEXT, [400, 200]),
    "the next after a 413": (head(JSON, "Content-Length: 99999999") + NEXT, [413]),
    "the next after a bad field": (head("X : 1") + NEXT, [400]),
    "the next after a bad chunk": (head(JSON, CHUNKED) + b"zz\r\n" + NEXT, [400]),
    "the next after a tunnel": (head(line="CONNECT x:80 HTTP/1.1") + NEXT, [404]),
    "the next in a body": (head(f"Content-Length: {len(NEXT)}", line="GET /livez HTTP/1.1") + NEXT + NEXT, [200, 200]),
    "the next behind chunks": (head(CHUNKED, line="GET /livez HTTP/1.1") + chunks(NEXT) + NEXT, [200, 200]),
}  # fmt: skip
CUT_OFF = {
    "a line": b"GET /livez HTTP/1.1\r\n",
    "a head": head(JSON, SIZE)[:-2],
    "a body": head(JSON, f"Content-Length: {len(JOB) + 1}") + JOB,
    "a chunk": chunked(b"1c\r\n" + JOB),
    "before the last chunk": chunked(CHUNK),
    "after the last chunk": chunked(CHUNK + b"0\r\n"),
    "a trailer": chunked(CHUNK + b"0\r\nA: b"),
    "a chunk without end": chunked(b"ffffffffffffffff\r\n" + JOB),
}


running = shared_api()


@pytest.fixture(autouse=True)
def _nothing_failed(running: Api) -> Iterator[None]:
    yield
    assert running.events("request.failed") == running.events("connection.failed") == []


def test_each_odd_request_is_answered_as_what_it_is(running: Api, rows: Rows) -> None:
    wrong = []
    for name, (request, wanted) in ANSWERED.items():
        for is_half_closed in (False, True):
            statuses, answers = ask(running.port, request, is_half_closed=is_half_closed)
            answered = [status for status in statuses if status != 100]
            if answered != wanted:  # one that was waited for would be 408
                wrong.append((name, is_half_closed, statuses, answers[:300]))
    assert wrong == []
    accepted = sum(wanted == [202] for _, wanted in ANSWERED.values())
    assert rows.value("SELECT count(*) FROM jobs") == 2 * accepted


def test_nothing_that_was_cut_off_is_accepted(running: Api, rows: Rows) -> None:
    for name, request in CUT_OFF.items():
        statuses, answers = ask(running.port, request, is_half_closed=True)
        assert statuses in ([], [400]), (name, answers)
        assert b"NoMoreData" not in answers
    assert rows.value("SELECT count(*) FROM jobs") == 0


def test_connections_that_end_at_any_moment_leave_nothing_behind(running: Api, rows: Rows) -> None:
    whole = head(JSON, CHUNKED) + chunks(JOB, 9)
    [process] = running.children()
    assert ask(running.port, job())[0] == [202]
    before = len(os.listdir(f"/proc/{process}/fd"))
    for cut in range(0, len(whole), 4):
        for is_reset in (False, True):
            with socket.create_connection(("127.0.0.1", running.port), timeout=20) as link:
                if is_reset:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                link.sendall(whole[:cut])
    wait_until(lambda: len(os.listdir(f"/proc/{process}/fd")) <= before, 20, "all connections are closed")
    assert rows.value("SELECT count(*) FROM jobs") == 1
    assert ask(running.port, job())[0] == [202]


def test_a_large_answer_that_is_read_slowly_is_whole(running: Api) -> None:
    text = "x" * 900_000
    with running.http() as client:
        job_id = client.submit("echo", {"text": text})
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        link.settimeout(20)
        link.connect(("127.0.0.1", running.port))
        link.sendall(get(f"/jobs/{job_id}"))
        received = b""
        while chunk := link.recv(8_192):
            received += chunk
            pause(0.002)
    assert text.encode() in received


def test_a_connection_is_used_again_after_errors(running: Api) -> None:
    with running.http() as client:
        for _ in range(3):
            assert client.get("/jobs/x").status == 404
            assert client.post("/jobs", b"{").status == 400
            assert client.post("/jobs", {"payload": {"type": "nobody knows it"}}).status == 422
            assert client.request("PUT", "/jobs", None, {}).status == 405
            assert client.submit("echo")
        assert client.request("POST", "/jobs", b"{}", {"Content-Type": "text/plain"}).status == 415
        assert client.get("/livez").status == 200
