"""JSON as taskhub accepts it: strict UTF-8, one meaning, bounded before anything recursive or lossy sees it.

Refused as malformed: a byte order mark, other encodings, a name given twice in one object, NaN and
Infinity, numbers that overflow a double, integers beyond signed 64 bits, numbers of more than 100
characters, and lone surrogates (`"\\ud800"`), which no UTF-8 can carry. `"\\u0000"` is allowed.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from taskhub.domain import storable
from taskhub.domain.errors import MalformedJsonError, TooDeepError

MAX_DEPTH = 32
MAX_CONTAINERS = 1_000_000  # of 3 bytes each, in 60 bytes of memory each

_LONGEST_NUMBER = 100
_INTEGERS = range(-(2**63), 2**63)
_STRUCTURE = b'[]{}"'
_ELSE = bytes(byte for byte in range(256) if byte not in _STRUCTURE)
_AS_PARENTHESES = bytes.maketrans(b"[{]}", b"(())")
_STRING = re.compile(rb'"[^"]*"?')
_DOUBTFUL = re.compile(rb"null|[0-9]{19}")  # what may have been no number, or one beyond 64 bits
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def decode(data: bytes) -> Any:
    """The value in `data`. Raises MalformedJsonError or TooDeepError, whatever the bytes are."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"not UTF-8 at byte {error.start}") from None
    brackets = _brackets(data)
    if _is_deeper(brackets, MAX_DEPTH):
        raise TooDeepError(f"nested deeper than {MAX_DEPTH} levels")
    if brackets.count(b"(") > MAX_CONTAINERS:
        raise MalformedJsonError(f"more than {MAX_CONTAINERS:,} arrays and objects")
    try:
        value = _DECODER(text)
    except json.JSONDecodeError as error:
        raise MalformedJsonError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    if _ESCAPED_SURROGATE.search(data) and not _is_encodable(value):
        raise MalformedJsonError("a string holds half of a surrogate pair")
    return value


def encode(value: Any) -> str:
    """A decoded value as compact ASCII text, which any database and any log can hold."""
    encoded = orjson.dumps(value)
    return encoded.decode() if encoded.isascii() else json.dumps(value, separators=(",", ":"))


def encode_foreign(value: Any) -> str:
    """Any Python value that JSON can carry, as `encode` would write it. Raises MalformedJsonError, TooDeepError."""
    try:
        encoded = orjson.dumps(value, default=storable.as_plain, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except (TypeError, RecursionError) as error:
        raise MalformedJsonError(f"is not JSON: {error}"[:200]) from None
    if encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH or not encoded.isascii() or _DOUBTFUL.search(encoded):
        text = encode(decode(encoded))
        if b"null" in encoded:
            try:
                storable.plain(value)  # orjson writes null for NaN, wherever it stands
            except (ValueError, TypeError) as error:
                raise MalformedJsonError(str(error)) from None
        return text
    return encoded.decode()


def canonical(value: Any) -> bytes:
    """The same bytes for all texts of a decoded value: names sorted, no space."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _brackets(data: bytes) -> bytes:
    """The parentheses of `data` outside of strings: `(` for what opens an array or object, `)` for what ends one.

    Beyond the first error in the text any answer is right, since no parser goes there.
    """
    structure = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _ELSE)
    # Two quotes side by side leave every bracket on its side of a string.
    return _STRING.sub(b"", structure.replace(b'""', b"")).translate(_AS_PARENTHESES)


def _is_deeper(brackets: bytes, levels: int) -> bool:
    """True if a parser would go deeper than `levels`; each pass that removes all pairs takes one level away."""
    for _ in range(levels):
        shorter = brackets.replace(b"()", b"")
        if len(shorter) == len(brackets):
            return len(brackets) - len(brackets.lstrip(b"(")) > levels
        brackets = shorter
    return bool(brackets)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedJsonError(f"the name {name[:64]!a} occurs twice in one object")
    return value


def _integer(text: str) -> int:
    # Before int(): its time grows with the square of the digits.
    if len(text) > _LONGEST_NUMBER or int(text) not in _INTEGERS:
        raise MalformedJsonError("an integer is outside of 64 bits")
    return int(text)


def _float(text: str) -> float:
    if len(text) > _LONGEST_NUMBER:
        raise MalformedJsonError(f"a number has more than {_LONGEST_NUMBER} characters")
    value = float(text)
    if math.isinf(value):
        raise MalformedJsonError("a number is too large for a double")
    return value


def _constant(text: str) -> Any:
    raise MalformedJsonError(f"{text} is not JSON")


def _is_encodable(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
).decode
