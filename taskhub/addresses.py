"""URLs of servers, read strictly, and hosts: one grammar for checking, connecting and masking.

Invariants:
- A URL means one thing or is refused: a character that some readers take for a separator must be
  percent-encoded, so that no driver ever takes a part of a password for a host, a path or a query.
- A refusal quotes nothing of the URL but the names of its parameters.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote

POSTGRES = ("postgresql", "postgres")
REDIS = ("redis", "rediss", "unix")
SECRET_PARAMETERS = ("password", "sslpassword", "ssl_password")

_ENCODE = (
    "it contains a reserved or forbidden character as it is (# ? / @ % [ ] \\ quotes, space, or any "
    "outside of ASCII): percent-encode it in user, password and names, as %23 for # or %40 for @"
)
_PLAIN = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*")
_USERINFO = re.compile(r"[^@/?\[\]]*")
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?)\]|((?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*))(?::(\d*))?"
)
_NAME = re.compile(r"[A-Za-z_]{1,40}")
_DATABASE_NUMBER = re.compile(r"[0-9]{1,6}")
_POSTGRES_PARAMETERS = frozenset({
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts",
    "options", "passfile", "password", "port", "require_auth", "requirepeer", "service", "sslcert",
    "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation",
    "sslpassword", "sslrootcert", "sslsni", "ssl_max_protocol_version", "ssl_min_protocol_version",
    "target_session_attrs", "tcp_user_timeout", "user",
})  # fmt: skip
_REDIS_PARAMETERS = frozenset({
    "db", "username", "password", "client_name", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile",
    "ssl_keyfile", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname",
})  # fmt: skip
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "load_balance_hosts": ("disable", "random"),
    "ssl_cert_reqs": ("none", "optional", "required"),
    "ssl_check_hostname": ("true", "false"),
}


class Host(NamedTuple):
    """One of the servers that a URL names; an empty name is the driver's default."""

    name: str
    port: int | None


class Address(NamedTuple):
    """A URL taken apart, percent-decoded."""

    scheme: str
    user: str | None
    password: str | None
    hosts: tuple[Host, ...]
    path: str
    parameters: dict[str, str]

    @property
    def database_number(self) -> int:
        """Which of Redis's databases; a parameter wins over the path."""
        return int(self.parameters.get("db") or (self.path.lstrip("/") if self.scheme != "unix" else "") or 0)


def parse(url: str, schemes: tuple[str, ...]) -> Address:
    """Take a URL of a server apart. Raises ValueError, which says what is wrong and shows nothing secret."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes:
        raise ValueError("it must begin so, in lower case" if "://" in url or "=" not in url else _not_key_value())
    if not _PLAIN.fullmatch(rest):
        raise ValueError(_ENCODE)
    authority, path, query = _split(rest)
    userinfo, has_user, hosts = authority.rpartition("@")
    if "@" in path + query or not _USERINFO.fullmatch(userinfo):
        raise ValueError(_ENCODE)
    user, has_password, password = userinfo.partition(":")
    address = Address(
        scheme,
        _decoded(user) if has_user else None,
        _decoded(password) if has_password else None,
        tuple(_host(part) for part in hosts.split(",")),
        _decoded(path),
        _parameters(query, _POSTGRES_PARAMETERS if scheme in POSTGRES else _REDIS_PARAMETERS),
    )
    if scheme in REDIS:
        _check_redis(address)
    return address


def masked(url: str) -> str:
    """`url` with its passwords replaced, fit for people's eyes; of one that is doubtful, only the scheme."""
    scheme = url.partition("://")[0]
    try:
        address = parse(url, POSTGRES + REDIS)
    except ValueError:
        return f"{scheme}://***" if scheme in POSTGRES + REDIS else "***"
    shown = re.sub(r"^([a-z]+://[^:@/?]*):[^@/?]*@", r"\1:***@", url)
    if scheme in REDIS and address.password is None:
        shown = re.sub(r"^([a-z]+://)[^@/?]+@", r"\1***@", shown)  # often a password in the wrong place
    return re.sub(rf"([?&](?:{'|'.join(SECRET_PARAMETERS)})=)[^&]*", r"\1***", shown)


def secrets_of(url: str) -> set[str]:
    """The passwords in `url`, as they are and as they are written there."""
    try:
        address = parse(url, POSTGRES + REDIS)
    except ValueError:
        return set()
    written = re.findall(rf"^[a-z]+://[^:@/?]*:([^@/?]*)@|[?&](?:{'|'.join(SECRET_PARAMETERS)})=([^&]*)", url)
    plain = [address.password, *(address.parameters.get(name) for name in SECRET_PARAMETERS)]
    return {text for text in [*plain, *(part for pair in written for part in pair)] if text}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`; in doubt it is not so."""
    bare = host.removeprefix("[").removesuffix("]")
    if bare.casefold().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def in_url(host: str) -> str:
    """`host` as it stands in a URL: an IPv6 address in brackets, its zone percent-encoded."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def _split(rest: str) -> tuple[str, str, str]:
    head, _, query = rest.partition("?")
    authority, slash, path = head.partition("/")
    return authority, slash + path, query


def _host(text: str) -> Host:
    match = _HOST.fullmatch(text)
    if not match:
        raise ValueError("its host is not a valid name or address: an IPv6 address stands in brackets, " + _ENCODE)
    bracketed, name, port = match.groups()
    if bracketed is not None:
        ipaddress_of(unquote(bracketed))
    if port is not None and not (port.isascii() and 0 < len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError("its port is not 1 to 65535; or, in user or password, " + _ENCODE)
    return Host(_decoded(bracketed if bracketed is not None else name), int(port) if port else None)


def ipaddress_of(text: str) -> ipaddress.IPv6Address:
    """The IPv6 address that stood in brackets. Raises ValueError."""
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("what stands in brackets is not an IPv6 address") from None


def _parameters(query: str, known: frozenset[str]) -> dict[str, str]:
    found = {}
    for pair in query.split("&") if query else []:
        name, separator, value = pair.partition("=")
        if not separator or name not in known:
            shown = f"{name} is" if _NAME.fullmatch(name) else "one is"
            raise ValueError(f"its parameters are name=value from a fixed list, and {shown} not on it")
        found[name] = _decoded(value)
        if found[name] not in _CHOICES.get(name, (found[name],)):
            raise ValueError(f"its parameter {name} must be {' or '.join(_CHOICES[name])}")
    return found


def _check_redis(address: Address) -> None:
    if address.scheme != "rediss" and any(name.startswith("ssl_") for name in address.parameters):
        raise ValueError("its parameters ssl_... need rediss://")
    if len(address.hosts) > 1:
        raise ValueError("it may name one host only")
    if address.scheme == "unix":
        if address.hosts[0] != Host("", None) or not address.path.startswith("/"):
            raise ValueError("the path of its socket must begin with a slash, as in unix:///run/redis.sock")
    elif address.path.strip("/") and not _DATABASE_NUMBER.fullmatch(address.path[1:]):
        raise ValueError("after its host, only the number of a database may follow, as in /0")
    if not _DATABASE_NUMBER.fullmatch(address.parameters.get("db", "0")):
        raise ValueError("its parameter db must be the number of a database")


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("what is percent-encoded in it must be UTF-8") from None
    if "\0" in decoded:
        raise ValueError("it must not contain %00")
    return decoded


def _not_key_value() -> str:
    return "the form key=value is not accepted"
