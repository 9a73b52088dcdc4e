"""Anything as something that a line can show: bounded before it is copied, and nobody's mistake is our exception.

What a value's own code raises, of any class, is replaced by a word on it. Only an interrupt is passed on: what
was raised in the middle from outside, because somebody's time is over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

MAX_VALUE_BYTES = 4000  # of a value with all that it holds
_LEVELS = 5
_ELSE = "[...]"
_AS_THEY_ARE = (bool, type(None))
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

T = TypeVar("T")

_interrupts: list[type[BaseException]] = [KeyboardInterrupt]


def pass_on(*interrupts: type[BaseException]) -> None:
    """Make classes known that a signal's handler of ours raises: they are never taken for a value's own mistake."""
    _interrupts.extend(interrupts)


def attempt(make: Callable[[], T], otherwise: Callable[[], T]) -> T:
    """What foreign code makes; what is made otherwise if it raises anything but an interrupt."""
    try:
        return make()
    except BaseException as error:
        if type(error) in _interrupts:
            raise
        return otherwise()


def escape(text: str) -> str:
    """`text` without any character that ends a line, steers a terminal or turns its direction."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def clip(text: str, limit: int) -> str:
    """`text` in at most `limit` UTF-8 bytes, cut in the middle: beginnings and ends tell most."""
    if len(text) > 4 * limit:
        text = text[: 2 * limit] + text[-2 * limit :]
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= limit:
        return text
    mark = b" [...] "
    head = max(0, (limit - len(mark)) // 3)
    tail = max(0, limit - len(mark) - head)
    kept = encoded[:head] + mark + (encoded[-tail:] if tail else b"")
    return kept.decode("utf-8", "ignore")


def text_of(value: Any, limit: int = MAX_VALUE_BYTES) -> str:
    """The text of anything."""
    kind = type(value)
    if kind is str:
        return value if 4 * len(value) <= limit else clip(value, limit)
    if issubclass(kind, str):  # whose methods may be anybody's
        return clip(str.__getitem__(value, slice(None)), limit)
    if issubclass(kind, (bytes, bytearray)):
        return repr(bytes(memoryview(value)[:limit]))
    if issubclass(kind, (dict, list, tuple)):
        return clip(str(plain(value, limit)), limit)
    if issubclass(kind, int) and int.bit_length(value) > 1000:
        return f"a whole number of {int.bit_length(value)} bits"
    return clip(attempt(lambda: _str(value), lambda: f"({class_name(value)}, whose text cannot be read)"), limit)


def class_name(value: Any) -> str:
    """The name of anything's class, also where that would rather not tell."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return clip(name, 100)


def plain(value: Any, limit: int = MAX_VALUE_BYTES) -> Any:
    """`value` in types that JSON knows; what does not fit into about so many bytes is left out."""
    kind = type(value)
    if (kind is str and 4 * len(value) <= limit) or (kind is float and value - value == 0.0) or kind in _AS_THEY_ARE:
        return value
    return _Plain(limit).of(value, _LEVELS)


class _Plain:
    """One value, with the bytes that are left for it."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def of(self, value: Any, levels: int) -> Any:
        kind = type(value)
        if kind in _AS_THEY_ARE:
            self._left -= 5
            return value
        if issubclass(kind, int) and int.bit_length(value) < 64:
            self._left -= 10
            return int.__add__(value, 0)
        if issubclass(kind, float) and float.__sub__(value, value) == 0.0:
            self._left -= 10
            return float.__add__(value, 0.0)
        if issubclass(kind, (dict, list, tuple)):
            return attempt(lambda: self._container(value, levels - 1), lambda: _ELSE) if levels else _ELSE
        text = _ELSE if self._left <= 0 else text_of(value, self._left)
        self._left -= len(text)
        return text

    def _container(self, value: Any, levels: int) -> Any:
        if issubclass(type(value), dict):
            return {text_of(k, 200): self.of(v, levels) for k, v in self._while_it_fits(dict.items(value))}
        items = list.__iter__(value) if issubclass(type(value), list) else tuple.__iter__(value)
        return [self.of(item, levels) for item in self._while_it_fits(items)]

    def _while_it_fits(self, items: Any) -> Iterator[Any]:
        for item in items:
            if self._left <= 0:
                return
            self._left -= 2
            yield item


def _str(value: Any) -> str:
    text = str(value)
    return text if type(text) is str else str.__getitem__(text, slice(None))
