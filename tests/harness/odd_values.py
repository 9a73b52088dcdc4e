"""Objects, exceptions and texts as a handler may return, raise or ask for, the worst among them on purpose."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import struct
import types
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from taskhub.domain.errors import TransactionLostError
from taskhub.handlers.raises import Fail, JobCancelled, JobTimeout, Retry


class Rude(Exception):
    """Whatever is asked of it, it raises what it was made with."""

    def __str__(self) -> str:
        raise self.args[0]

    __repr__ = __str__
    __cause__ = __context__ = __notes__ = property(__str__)  # type: ignore[assignment]


class Liar(Exception):
    """Claims to be what it is not, and to come from nowhere."""

    __class__ = property(lambda self: str)  # type: ignore[assignment]
    __traceback__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


class Slippery(str):
    """A text that encodes, slices and replaces as it likes."""

    encode = replace = __getitem__ = __len__ = __str__ = lambda self, *_: 1 / 0  # type: ignore[assignment]


class Titled(type):
    """A class of classes without a proper name."""

    __name__ = property(lambda cls: 1 / 0)  # type: ignore[assignment]


class Untold(Exception, metaclass=Titled):
    def __str__(self) -> str:
        return Slippery("\ud800 from a subclass")


class Blank(Retry):
    """A subclass that does not call the constructor."""

    def __init__(self) -> None:
        return


class Evasive(Retry):
    after_s = property(lambda self: 1 / 0)  # type: ignore[assignment]

    def __init__(self) -> None:
        return


class Level(enum.IntEnum):
    LOW = 1


class Odd(enum.Enum):
    NAN = float("nan")


@dataclasses.dataclass
class Point:
    x: Any


@dataclasses.dataclass
class Trap:
    x: int = 1

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt(name)


class Shifting(dict):  # type: ignore[type-arg]
    """Shows others than it holds."""

    def items(self) -> Any:
        return [("a", float("nan"))] * 2

    keys = values = copy = __iter__ = __len__ = lambda self: 1 / 0  # type: ignore[assignment]


class Zone(datetime.tzinfo):
    """A time zone that answers with whatever it was made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def utcoffset(self, _: object) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Hidden(TransactionLostError):
    """The loss of a transaction that keeps to itself what was made of it."""

    __cause__ = property(lambda self: 1 / 0)  # type: ignore[assignment]


Pair = collections.namedtuple("Pair", "a b")


class NumpyLike:
    """A number of a foreign kind."""

    def __init__(self, value: float = 1.5) -> None:
        self.value = value

    def __float__(self) -> float:
        return float(self.value)


def _timed(answer: Any) -> datetime.datetime:
    return datetime.datetime(2020, 1, 1, tzinfo=Zone(answer))


def _deep() -> Any:
    value: Any = []
    for _ in range(10_000):
        value = [value]
    return value


def _laughing() -> Any:
    value: Any = ["ha"] * 10
    for _ in range(12):
        value = [value] * 10
    return value


def _cycle() -> Any:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


numbers: st.SearchStrategy[Any] = st.one_of(
    st.integers(),
    st.floats(),
    st.decimals(),
    st.fractions(),
    st.booleans(),
    st.sampled_from([2**70, -(2**63), 1e300, -0.0, Decimal("1e999999"), Decimal("sNaN"), Fraction(1, 3), Level.LOW]),
    st.builds(NumpyLike),
)
texts: st.SearchStrategy[Any] = st.one_of(
    st.text(st.characters(), max_size=30),  # lone surrogates among them
    st.builds(Slippery, st.text(max_size=5)),
    st.sampled_from(["\x00", "\udcff", "a\ud800\x00b" * 1000, "ü" * 3_000_000, "\N{PILE OF POO}" * 9000, ""]),
)
_MADE = [  # by calls, because nobody else may touch them: their repr, their class, their attributes raise
    object, Trap, _deep, _cycle, lambda: Odd.NAN, lambda: Pair(1, float("nan")), lambda: Shifting(a=1),
    lambda: Rude(SystemExit()), lambda: memoryview(b"x"), lambda: iter([]), lambda: (n for n in "ab"), lambda: range(3),
    lambda: {1}, lambda: ..., lambda: len, lambda: struct, lambda: Point, lambda: Untold,
    lambda: _timed(SystemExit()), lambda: _timed("x"), lambda: _timed(datetime.timedelta(days=9)),
    lambda: uuid.UUID.__new__(uuid.UUID), lambda: types.SimpleNamespace(a=1), lambda: ["x" * 1000] * 100_000,
]  # fmt: skip
_leaves = (
    st.none()
    | numbers
    | texts
    | st.binary(max_size=5)
    | st.datetimes()
    | st.uuids()
    | st.integers(0, len(_MADE) - 1).map(lambda number: _MADE[number]())
)
values: st.SearchStrategy[Any] = st.recursive(
    _leaves | st.builds(_laughing),  # not for exceptions: only a job's time ends the making of such a text
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(st.characters(), max_size=5) | st.integers() | st.floats(), inner, max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=3),
        st.builds(Point, inner),
        st.builds(collections.OrderedDict, st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    ),
    max_leaves=8,
)


def _asking(after_s: Any) -> Retry:
    """A Retry whose delay was set behind its constructor's back."""
    error = Retry()
    error.after_s = after_s
    return error


_plain_classes = st.sampled_from(
    [ValueError, OSError, Fail, StopIteration, GeneratorExit, SystemExit, KeyboardInterrupt, MemoryError, JobTimeout,
     JobCancelled, RecursionError, AssertionError, KeyError]
)  # fmt: skip
_RAISED = [
    lambda: Hidden("gone"),
    Liar, Untold, Blank, Evasive, lambda: Retry(3), lambda: Rude(RuntimeError()), lambda: Rude(SystemExit()),
    lambda: Rude(KeyboardInterrupt()), lambda: Rude(GeneratorExit()),
    lambda: UnicodeDecodeError("u", b"\xff", 0, 1, "x"),
]  # fmt: skip
exceptions: st.SearchStrategy[BaseException] = st.one_of(
    st.builds(lambda kind, value: kind(value), _plain_classes, _leaves),
    st.builds(_asking, _leaves),
    st.integers(0, len(_RAISED) - 1).map(lambda number: _RAISED[number]()),
    st.builds(lambda text: type("E" * 500, (Exception,), {})(text), texts),
)
