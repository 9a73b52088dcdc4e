"""Kinds of settings: how a text becomes a value, and what is allowed, in words.

A parser is total: any text gives a value or ValueError, never another exception, and each number has bounds that
every use of it can bear (milliseconds in 32 bits, nanoseconds in 64, PostgreSQL's integers).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from taskhub import addresses

NOTHING = ("off", "none")
MAX_CHILDREN = 256  # of one worker: as many slots as its shared memory has

_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_DIGITS = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"(?=\.?[0-9])[0-9]{0,12}(?:\.[0-9]{0,12})?")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_QUEUE = re.compile(r"([a-z0-9_.-]{1,64})(?:=([1-9][0-9]{0,2}))?")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Kind(NamedTuple):
    """How a setting's text becomes its value (ValueError if it cannot), and what is allowed, in words."""

    parse: Callable[[str], Any]
    allowed: str


def whole(low: int, high: int) -> Kind:
    def parse(text: str) -> int:
        return int(_checked(bool(_DIGITS.fullmatch(text)) and low <= int(text) <= high, text))

    return Kind(parse, f"a whole number, {low} to {high}")


def seconds(low: float, high: float) -> Kind:
    def parse(text: str) -> float:
        return float(_checked(bool(_DECIMAL.fullmatch(text)) and low <= float(text) <= high, text))

    return Kind(parse, f"seconds, {low:g} to {high:.0f}")


def choice(*names: str) -> Kind:
    return Kind(lambda text: _checked(text.lower() in names, text).lower(), " or ".join(names))


def optional(kind: Kind) -> Kind:
    return Kind(lambda text: None if text.lower() in NOTHING else kind.parse(text), f"{kind.allowed}; or off")


def url(schemes: tuple[str, ...]) -> Kind:
    """The URL of a server, kept as it is written; what is wrong with one is told without showing it."""

    def parse(text: str) -> str:
        addresses.parse(text, schemes)
        return text

    return Kind(optional(Kind(parse, "")).parse, " or ".join(f"{scheme}://..." for scheme in schemes))


def _checked(acceptable: bool, text: str) -> str:
    if not acceptable:
        raise ValueError
    return text


def _parse_cores(text: str) -> int:
    if text.lower() == "cores":
        return min(len(os.sched_getaffinity(0)), MAX_CHILDREN)
    return int(whole(1, MAX_CHILDREN).parse(text))


def _parse_flag(text: str) -> bool:
    return _checked(text.lower() in _YES + _NO, text).lower() in _YES


def _parse_host(text: str) -> str:
    """A host's name, or an address: IPv6 with or without brackets and zone; returned without brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        return _checked(bool(addresses.ipaddress_of(bare)), bare)
    return _checked(bare == text and bool(_HOST_NAME.fullmatch(text)), text)


def _parse_queues(text: str) -> tuple[tuple[str, int], ...]:
    """`critical=6,low` as (("critical", 6), ("low", 1)); `*`, all queues, as ()."""
    if text.strip() == "*":
        return ()
    matches = [_QUEUE.fullmatch(part.strip()) for part in text.split(",")]
    queues = tuple((match[1], int(match[2] or 1)) for match in matches if match)
    _checked(len(queues) == len(matches) == len(dict(queues)), text)
    return queues


def _parse_modules(text: str) -> tuple[str, ...]:
    if text.lower() in NOTHING:
        return ()
    modules = tuple(part.strip() for part in text.split(","))
    _checked(all(map(_MODULE.fullmatch, modules)), text)
    return modules


def parse_path(text: str) -> Path:
    """An absolute path; `~` and the working directory are resolved now."""
    try:
        return Path(_checked("\0" not in text, text)).expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no such user") from None
    except OSError:
        raise ValueError("the working directory is gone: give a path from /") from None


CORES = Kind(_parse_cores, f"a whole number, 1 to {MAX_CHILDREN}; or cores")
FLAG = Kind(_parse_flag, "yes or no")
FAILPOINTS = Kind(lambda text: "" if text.lower() in NOTHING else text, "name=action[:argument][*times];...")
HOST = Kind(_parse_host, "a host name or an address")
MODULES = Kind(_parse_modules, "module names with commas between")
PATH = Kind(parse_path, "a path")
QUEUES = Kind(_parse_queues, "*, or names [a-z0-9_.-] with optional weights, like critical=6,default=3,low")
