"""The API as it is served, against those who mean it harm: an answer below 500 to everything, and it stays up."""

from __future__ import annotations

import json
import random
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

from tests.harness.http import Http
from tests.harness.programs import Api
from tests.harness.rows import Rows
from tests.harness.shared_api import *  # noqa: F403 (fixtures are found by their names here)
from tests.harness.shared_api import shared_api

_CANARY = "canary-5a1d"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

running = shared_api(TASKHUB_MAX_BODY_BYTES="65536", TASKHUB_MAX_BULK_BYTES="262144")


def send(port: int, data: bytes, wait_s: float = 5.0) -> bytes:
    """Whatever is answered to raw bytes, until the server closes or says no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as link:
        received = b""
        try:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            while chunk := link.recv(65536):
                received += chunk
        except OSError:
            pass  # closed in our face: an answer too
        return received


def http(body: bytes, path: str = "/jobs", method: str = "POST", **headers: str) -> bytes:
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    named.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *(f"{n}: {v}" for n, v in named.items() if v)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def job(**fields: Any) -> bytes:
    return json.dumps({"payload": {"type": "echo"}, **fields}).encode()


def _bodies() -> Iterator[bytes]:
    yield from (
        b"",
        b" ",
        b"null",
        b"true",
        b"0",
        b'""',
        b"[]",
        b"{}",
        b"[[]]",
        b"{",
        b"}",
        b'{"',
        b"\x00",
        b"\xff\xfe",
    )
    yield from (b"[" * 30_000, b'{"a":' * 10_000, b'{"payload":' * 5_000, b"9" * 60_000, b"1e" + b"9" * 60_000)
    yield from (b"-" * 60_000, b'"' * 60_000, b'"\\' * 30_000, b"[" * 20_000 + b"]" * 20_000, b"[]" * 30_000)
    yield from (b'{"payload":{"type":"echo","type":"echo"}}', b'{"payload":{"type":"echo"},"payload":{"type":"echo"}}')
    for value in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e100000", b"18446744073709551616", b"0x1"):
        yield b'{"payload":{"type":"echo","x":%s}}' % value
    for value in (
        rb"\ud800",
        rb"\udc00\ud800",
        rb"\u0000",
        rb"\uFFFF",
        rb"\x41",
        b"\x00",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
    ):
        yield b'{"payload":{"type":"echo","x":"%s"}}' % value
        yield b'{"payload":{"type":"%s"}}' % value
        yield b'{"payload":{"type":"echo"},"queue":"%s"}' % value
        yield b'{"payload":{"type":"echo"},"%s":1}' % value
    yield '{"payload":{"type":"echo"}}'.encode("utf-16")
    yield b"\xef\xbb\xbf" + job()
    hostile = ("'; DROP TABLE jobs; --", "../../etc/passwd", "%s%n%x", "${jndi:ldap://x}", "<script>alert(1)</script>",
               "{{7*7}}", "\r\nX-Evil: 1", "a\x1b[31m", "\u202e", "x" * 60_000, "__import__('os')",
               "taskhub:{default}")  # fmt: skip
    for text in hostile:
        yield job(queue=text)
        yield job(unique_key=text)
        yield job(tags=[text])
        yield job(run_at=text)
        yield json.dumps({"payload": {"type": text}}).encode()
        yield json.dumps({"payload": {"type": "echo", text: text}}).encode()
        yield json.dumps({"payload": {"type": "sleep", "seconds": text}}).encode()
    for number in (-1, 1e308, 2**63 - 1, -(2**63), 1e-320, True, [], {}):
        for field in ("priority", "max_attempts", "timeout_s", "delay_s"):
            yield job(**{field: number})
    for moment in ("0000-00-00T00:00:00Z", "9999-12-31T23:59:60Z", "2030-01-01T00:00:00+99:99", "-infinity", "epoch"):
        yield job(run_at=moment, expires_at=moment)
    yield job(tags=[[[["x"]]]] * 1000)
    yield b'{"payload":{"type":"echo"},' + b",".join(b'"f%d":1' % n for n in range(5_000)) + b"}"


def _requests() -> Iterator[bytes]:
    for body in _bodies():
        yield http(body)
    for body in (b'{"jobs":[]}', b'{"jobs":{}}', b'{"jobs":[[[[]]]]}', b'{"jobs":[' + b"{}," * 9_000 + b"{}]}"):
        yield http(body, "/jobs/bulk")
    yield http(b'{"jobs":[' + b'{"payload":{"type":"echo"}},' * 9_000 + b"1]}", "/jobs/bulk")
    for key in ("\x01", "a" * 300, "a,b", "\xff", '"quoted"', "a\tb"):
        yield http(job(), Idempotency_Key=key)
        yield http(job(), X_Request_Id=key)
        yield http(job(), Authorization=key)
    for kind in (
        "",
        "application/xml",
        "application/json;charset=\xff",
        "application/json; charset=utf-7",
        "a" * 5_000,
        "/;=",
    ):
        yield http(job(), Content_Type=kind)
    for coding in ("gzip", "deflate", "br", "identity, gzip", "x" * 1_000):
        yield http(b"\x1f\x8b\x08", Content_Encoding=coding)
    for length in ("-1", "1e3", "99999999999999999999", "5, 6", "0x5", "+5", "5000000000"):
        yield http(job(), Content_Length=length)
    chunked = {"Content_Length": "", "Transfer_Encoding": "chunked"}
    for body in (b"zz\r\n", b"5\r\nab", b"-1\r\n\r\n", b"ffffffffffffffff\r\n", b"5;" + b"x" * 9_000, b"0\r\n\r\n", b"",
                 b"1\r\n{\r\n" * 2_000 + b"0\r\n\r\n", b"20000\r\n" + b"x" * 0x20000 + b"\r\n0\r\n\r\n"):  # fmt: skip
        yield http(body, **chunked)
    yield http(job(), Transfer_Encoding="chunked")
    yield http(job(), Transfer_Encoding="gzip, chunked")
    for path in ("/jobs/%00", "/jobs/%ff", "/jobs/..%2f", "//", "/jobs?" + "a=b&" * 800, "/jobs/x?wait=1&wait=2",
                 "/jobs/" + "x" * 3_900, "/jobs/" + "x" * 9_000, "/%", "/jobs;a", "*", "http://evil/jobs", "/\xff",
                 "/metrics/../jobs"):  # fmt: skip
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT"):
            yield http(b"", path, method)
    for method in ("GeT", "A" * 30, "G\x00T", "", "BREW"):
        yield http(b"", "/jobs", method)
    yield http(job(), Host="a\r\nHost: b")
    yield http(job(), Cookie="session=" + "x" * 8_000)
    yield b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n"
    yield from (
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    )
    yield b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    random_bytes = random.Random(5)
    for _ in range(40):
        yield http(random_bytes.randbytes(random_bytes.randrange(1, 200)))
        yield random_bytes.randbytes(random_bytes.randrange(1, 200)) + b"\r\n\r\n"


def test_nothing_that_a_client_sends_gets_a_5xx(running: Api, rows: Rows) -> None:
    requests = list(_requests())
    assert len(requests) > 400
    bad = []
    for request in requests:
        answer = send(running.port, request)
        status = _STATUS.match(answer)
        # 501 is gunicorn's own honest word for a transfer coding that it does not know; it never reached the API.
        if status and status[1] >= b"500" and not (status[1] == b"501" and b"Transfer-Encoding" in request):
            bad.append((request[:200], answer[:300]))
        assert b"X-Evil" not in answer.partition(b"\r\n\r\n")[0]
        assert b"Traceback" not in answer
    assert bad == []
    assert running.events("request.failed") == []
    assert rows.value("SELECT count(*) FROM jobs") >= 1
    with running.http() as client:
        assert client.get("/readyz").status == 200
        assert client.submit("echo")


def test_logs_hold_no_payloads_and_every_line_is_json(running: Api) -> None:
    with running.http() as client:
        job_id = client.submit("echo", {"secret": _CANARY})
        client.post("/jobs", {"payload": {"type": "echo", "secret": _CANARY}, "priority": _CANARY})
        client.post("/jobs", {"payload": {"type": "sleep", "seconds": _CANARY}}, Authorization=_CANARY)
        client.get(f"/jobs/x?token={_CANARY}")
        client.get("/jobs/%0a%1b%5b31m")
    text = running.log.read_text()
    assert _CANARY not in text
    lines = text.splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    requests = running.events("request")
    assert {"request_id", "method", "path", "status", "duration_ms", "timestamp", "level"} <= set(requests[0])
    [submitted] = [told for told in running.events("job.submitted") if told["job_id"] == job_id]
    assert {"job_id", "type", "queue", "request_id", "method", "path", "status", "duration_ms"} <= set(submitted)
    assert submitted["request_id"] not in [told["request_id"] for told in requests], "one line tells of both"


def test_every_answer_has_a_request_id_and_problems_are_problems(running: Api) -> None:
    with running.http() as client:
        for answer in (
            client.get("/jobs/x"),
            client.get("/nope"),
            client.request("PATCH", "/jobs", None, {}),
            client.post("/jobs", b"{"),
            client.post("/jobs", b"x" * 70_000),
            client.request("POST", "/jobs", b"{}", {"Content-Type": "text/plain"}),
        ):
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json["request_id"] == answer.headers["x-request-id"]
        assert "x-request-id" in client.get("/livez").headers


def test_slow_clients_do_not_hold_the_threads_for_ever(running: Api) -> None:
    """As many idle connections as there are threads, and more: others are still answered."""
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(40)]
    try:
        started = time.monotonic()
        with Http(running.port, timeout_s=15) as client:
            assert client.submit("echo")
        assert time.monotonic() - started < 15
    finally:
        for link in idle:
            link.close()


def test_chunked_bodies_are_read(running: Api) -> None:
    whole = job()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (whole[:5], whole[5:])) + b"0\r\n\r\n"
    assert send(running.port, http(chunks, Content_Length="", Transfer_Encoding="chunked")).startswith(b"HTTP/1.1 202")
