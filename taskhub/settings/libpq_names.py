"""What a URL of PostgreSQL leaves open, libpq takes from PGHOST, PGPORT and PGUSER: here it is read first, and checked.

So a mistake in one is told at the start by its own name, and a host that is named there is looked up and tried
within the same limits as one in the URL. Where a service is named, its file says all that, and libpq alone reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from taskhub import addresses
from taskhub.settings.sources import shown

_PORT = "must be 1 to 65535"


def completed(url: str, environ: Mapping[str, str], problems: list[str]) -> str:
    """`url` with what it leaves open and the environment names."""
    address = addresses.parse(url, addresses.POSTGRES)
    if "service" in address.parameters or environ.get("PGSERVICE"):
        return url
    is_named = {
        "host": any(host.name for host in address.hosts) or "hostaddr" in address.parameters,
        "port": any(host.port for host in address.hosts),
        "user": address.user is not None,
    }
    for parameter, has_it in is_named.items():
        name = "PG" + parameter.upper()
        value = environ.get(name, "")
        if not value or has_it or parameter in address.parameters:
            continue
        try:
            candidate = f"{url}{'&' if '?' in url else '?'}{parameter}={quote(_checked(parameter, value), safe='')}"
            addresses.parse(candidate, addresses.POSTGRES)
            url = candidate
        except ValueError as error:
            problems.append(f"{name}={shown(value)}: {error}; TASKHUB_DATABASE_URL names no {parameter} of its own")
    return url


def _checked(parameter: str, value: str) -> str:
    if parameter == "port" and not all(_is_port(part) for part in value.split(",")):
        raise ValueError(_PORT)
    return value


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536
