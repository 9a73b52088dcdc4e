"""Whether a port is free, who has it, and how people reach it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from taskhub.cli.dev import tcp_ports


@pytest.fixture(params=["127.0.0.1", "::1"])
def taken(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A host and a port on it that is in use."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        yield request.param, listener.getsockname()[1]


def test_a_port_in_use_is_told_with_its_setting_and_its_holder(taken: tuple[str, int]) -> None:
    told = tcp_ports.trouble(*taken, "TASKHUB_HTTP_PORT")

    assert told is not None
    assert told.startswith(f"TASKHUB_HTTP_PORT: port {taken[1]} on {taken[0]} is in use by process {os.getpid()} (")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])
def test_a_free_port_is_free(host: str) -> None:
    assert tcp_ports.trouble(host, tcp_ports.free_port(host), "TASKHUB_HTTP_PORT") is None


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid", "." * 70])
def test_an_address_of_another_host_is_told_as_such(host: str) -> None:
    told = tcp_ports.trouble(host, 8080, "TASKHUB_HTTP_PORT")

    assert told is not None
    assert told.startswith(f"TASKHUB_HTTP_HOST={host} is not an address of this host")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("fe80::1%lo", "http://[fe80::1%25lo]:80"),
        ("example.org", "http://example.org:80"),
    ],
)
def test_a_url_is_one_that_can_be_used(host: str, url: str) -> None:
    assert tcp_ports.url(host, 80) == url
