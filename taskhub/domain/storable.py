"""Any Python object as what can be kept: bounded clean text, a finite number, what JSON has. Users' values pass here.

Invariants:
- Nothing of the value is believed: not its class's `__str__`, `__class__`, `__iter__` or `__eq__`, nor that another
  thread leaves it alone. What is looked at is what is kept: a copy of exact built-in types.
- Memory is bounded before anything is copied: by `MAX_JSON_BYTES`, by a limit of text given, by depth.
- NaN and the infinities are refused wherever they stand; they are never kept as null.
- What JSON has no form for, `seconds` and `whole` raise with a sentence. (Or the object's own code raises while it is
  read; `taskhub.domain.outcome` catches everything.)
"""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import sys
import uuid
from typing import Any

MAX_JSON_BYTES = 1024 * 1024
MAX_DEPTH = 200

_SCALARS = frozenset({str, int, bool, type(None)})
_TIMES = (datetime.datetime, datetime.date, datetime.time)
_NO_NUMBERS = (bool, str, bytes, bytearray, memoryview)  # though float() takes some of them
_CLASS_NAME = type.__dict__["__name__"].__get__


def text(value: object, limit: int) -> str:
    """The text of any object as PostgreSQL, UTF-8 and a log can hold it: no NUL, no half surrogate, `limit` bytes."""
    try:
        words: Any = value if issubclass(type(value), str) else str(value)
        part = str.__getitem__(words, slice(0, limit))
    except BaseException:  # noqa: BLE001 (its class may do anything here)
        return f"{class_name(value)} (its text cannot be read)"
    clean = part.replace("\x00", "\\x00").encode("utf-8", "backslashreplace")
    return clean[:limit].decode("utf-8", "ignore")


def class_name(value: object) -> str:
    """The name of an object's true class, whatever its metaclass says."""
    return text(_CLASS_NAME(type(value)), 200)


def seconds(value: object, low: float, high: float) -> float:
    """A number of any kind as seconds. Raises ValueError unless it is one, and within bounds."""
    number = _number(value)
    if number is None or not low <= number <= high:
        raise ValueError(f"{shown(value)} is not a number of seconds from {low:g} to {high:g}")
    return number


def whole(value: object, low: int, high: int) -> int:
    """A whole number of any kind. Raises ValueError unless it is one, and within bounds."""
    number = _number(value)
    if number is None or not number.is_integer() or not low <= number <= high:
        raise ValueError(f"{shown(value)} is not a whole number from {low} to {high}")
    return int(number)


def shown(value: object) -> str:
    """A value in a message: short, and never an error."""
    try:
        return text(repr(value), 100)
    except BaseException:  # noqa: BLE001 (its class may do anything here)
        return f"a {class_name(value)}"


def plain(value: object, limit: int = sys.maxsize) -> Any:
    """A copy of a value in what JSON has: of exact built-in types, and at most about `limit` bytes of text.

    Raises ValueError or TypeError, with a sentence, for what JSON has no form for, NaN and the infinities among it.
    """
    return _Copy(limit).of(value, 0)


def as_plain(value: Any) -> str | float:
    """A time, a span (its seconds), a UUID or a Decimal as JSON has it. Raises TypeError for all else.

    Not left to orjson: a zone whose own code raises, or a UUID that was never made, ends the process there.
    """
    kind = type(value)
    for time in _TIMES:
        if issubclass(kind, time):
            written: str = time.isoformat(value)
            return written
    if issubclass(kind, datetime.timedelta):
        return datetime.timedelta.total_seconds(value)
    if issubclass(kind, uuid.UUID):
        return uuid.UUID.__str__(value)
    if issubclass(kind, decimal.Decimal):
        if not decimal.Decimal.is_finite(value):
            raise ValueError("NaN and Infinity are not JSON")
        return decimal.Decimal.__str__(value)
    raise TypeError(f"a {class_name(value)} has no form in JSON")


def _number(value: object) -> float | None:
    """The value of a number, be it Decimal, Fraction or another's class; truth values and texts are none."""
    if value is None or issubclass(type(value), _NO_NUMBERS):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except BaseException:  # noqa: BLE001 (its class may do anything here)
        return None
    return float.__float__(number) if math.isfinite(number) else None


class _Copy:
    """One copy; `left` is what may still be written of the largest text that is kept."""

    def __init__(self, left: int) -> None:
        self.left = left

    def of(self, value: object, depth: int) -> Any:
        kind = type(value)
        if kind is float:
            return self._finite(value)  # type: ignore[arg-type]
        self._spend(len(value) + 2 if kind is str else 1)  # type: ignore[arg-type]
        if kind in _SCALARS:
            return value
        if depth >= MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if issubclass(kind, dict):
            return self._dict(dict.copy(value), depth + 1)  # type: ignore[arg-type]
        if issubclass(kind, list) or kind is tuple:
            items: Any = list.copy(value) if issubclass(kind, list) else value  # type: ignore[arg-type]
            self._spend(len(items))
            return [self.of(item, depth + 1) for item in items]
        return self._other(value, kind, depth + 1)

    def _dict(self, items: dict[Any, Any], depth: int) -> dict[str, Any]:
        self._spend(4 * len(items))
        made = {}
        for key, item in items.items():
            name = self._key(key)
            if name in made:
                raise ValueError(f"the key {shown(name)} occurs twice")
            made[name] = self.of(item, depth)
        return made

    def _key(self, key: object) -> str:
        if not issubclass(type(key), str):
            raise TypeError(f"a key is of type {class_name(key)}; JSON has only texts")
        name = str.__str__(key)
        self._spend(len(name))
        return name

    def _other(self, value: Any, kind: type, depth: int) -> Any:
        """What JSON has no word for, but a plain equivalent."""
        if issubclass(kind, enum.Enum):
            return self.of(value.value, depth)
        if issubclass(kind, str):
            return self.of(str.__str__(value), depth)
        if issubclass(kind, int):
            return int.__add__(value, 0)
        if issubclass(kind, float):
            return self._finite(float.__float__(value))
        declared = kind.__dict__.get("__dataclass_fields__") or getattr(kind, "__dataclass_fields__", None)
        if type(declared) is dict:
            names = [name for name, field in declared.items() if field._field_type.name == "_FIELD"]
            return self._dict({name: getattr(value, name) for name in names if not name.startswith("_")}, depth)
        return as_plain(value)

    def _finite(self, value: float) -> float:
        self._spend(1)
        if not math.isfinite(value):
            raise ValueError("NaN and Infinity are not JSON")
        return value

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError(f"its JSON takes more than {MAX_JSON_BYTES} bytes")
