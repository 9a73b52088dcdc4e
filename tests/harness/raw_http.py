"""Requests byte by byte, for what no proper client sends."""

from __future__ import annotations

import re
import socket

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


def head(*lines: str, line: str = "POST /jobs HTTP/1.1") -> bytes:
    """A request's head, with a Host."""
    return "\r\n".join([line, "Host: x", *lines, "", ""]).encode("latin-1")


def chunks(body: bytes, size: int = 1_000) -> bytes:
    """A chunked body."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def ask(port: int, data: bytes, within_s: float = 20.0, *, is_half_closed: bool = False) -> tuple[list[int], bytes]:
    """The statuses of all answers to some bytes, and the bytes of them."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as link:
        try:
            link.sendall(data)
            if is_half_closed:
                link.shutdown(socket.SHUT_WR)
            while chunk := link.recv(65_536):
                received += chunk
        except ConnectionError:
            pass  # closed in our face: what came before counts
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)], received
