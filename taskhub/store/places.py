"""Where a URL of PostgreSQL leads: each address of each of its hosts, one after the other, with its share of the time.

libpq alone would look names up without a limit and, driven asynchronously, wait for a silent first host for ever.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from psycopg2 import extensions

from taskhub import clock
from taskhub.resolver import resolve


class Place(NamedTuple):
    """What libpq is told; None leaves it to the URL, a service file or the environment. `host` stays for TLS."""

    host: str | None = None
    hostaddr: str | None = None
    port: str | None = None


def places(url: str, deadline: float) -> Iterator[tuple[Place, float]]:
    """Each place with the moment until which it may be tried; at last, OSError for a name that leads nowhere."""
    named = _named(extensions.parse_dsn(url))
    missing: OSError | None = None
    for number, place in enumerate(named):
        until = _share(deadline, len(named) - number)
        try:
            found = _addresses(place, until)
        except OSError as error:
            missing, found = error, []
        for count, address in enumerate(found):
            yield place._replace(hostaddr=address), _share(until, len(found) - count)
    if missing is not None:
        raise missing


def _named(parameters: dict[str, str]) -> list[Place]:
    """The hosts as the URL names them."""
    if not parameters.get("host") and not parameters.get("hostaddr"):
        return [Place()]
    hosts, addresses = (parameters.get(name, "").split(",") for name in ("host", "hostaddr"))
    ports = parameters.get("port", "").split(",")
    ports = ports * max(len(hosts), len(addresses)) if len(ports) == 1 else ports
    named = [
        Place(host or None, address or None, port or None)
        for host, address, port in zip_longest(hosts, addresses, ports, fillvalue="")
        if host or address or port
    ]
    count = max(len(hosts), len(addresses))
    if parameters.get("load_balance_hosts") == "random":
        random.shuffle(named)
    return named[:count]


def _addresses(place: Place, until: float) -> list[str | None]:
    if place.host and not place.hostaddr and place.host.startswith(("/", "@")):
        return [""]  # a socket has none, whatever PGHOSTADDR says
    if place.hostaddr or not place.host:
        return [place.hostaddr]
    # A name may take half of the time: there must be some left to connect.
    return list(resolve(place.host, (until - clock.monotonic_s()) / 2))


def _share(deadline: float, parts: int) -> float:
    now = clock.monotonic_s()
    return now + max(0.0, deadline - now) / parts
