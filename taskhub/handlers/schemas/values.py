"""How one value is read by its annotation. Made once, when the handler is declared; bad annotations are told then."""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from taskhub.domain import storable
from taskhub.handlers.schemas.payload_schema import PayloadMismatch

Read = Callable[[Any], Any]  # gives the value as declared; raises ValueError or PayloadMismatch

_LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list, Sequence: list, Collection: list, set: set, frozenset: frozenset,
}  # fmt: skip


def reader(hint: Any) -> Read:
    """For one annotation. Raises TypeError for what cannot be read from JSON."""
    if hint in (Any, object):
        return lambda value: value
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return _checked(reader(arguments[0]), [each for each in arguments[1:] if callable(each)])
    if origin in (Union, types.UnionType):
        return _any_of([reader(each) for each in arguments])
    if origin is Literal:
        return _one_of({(type(each), each): each for each in arguments}, [repr(each) for each in arguments])
    if origin in _LISTS:
        return _list(_LISTS[origin], reader(*arguments) if arguments else reader(Any))
    if origin is tuple:
        return _tuple(arguments)
    if origin in (dict, Mapping):
        return _dict(reader(arguments[1]) if arguments else reader(Any), *arguments[:1])
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _one_of({(type(each.value), each.value): each for each in hint}, [repr(each.value) for each in hint])
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        from taskhub.handlers.schemas.of_dataclass import DataclassSchema  # which is made of these

        return DataclassSchema(hint).load
    raise TypeError(f"{hint!r} cannot be read from JSON")


def messages_of(error: ValueError | PayloadMismatch) -> Any:
    """What is wrong with one value."""
    return error.messages if isinstance(error, PayloadMismatch) else [storable.text(error, 200)]


def _exact(allowed: tuple[type, ...], words: str, make: Callable[[Any], Any] = lambda value: value) -> Read:
    def read(value: Any) -> Any:
        if type(value) not in allowed:
            raise ValueError(f"must be {words}")
        try:
            return make(value)
        except (ValueError, ArithmeticError):
            raise ValueError(f"must be {words}") from None

    return read


def _moment(kind: type[datetime] | type[time]) -> Callable[[str], Any]:
    return lambda text: kind.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "Zz" and text else text)


_SCALARS: dict[Any, Read] = {
    str: _exact((str,), "a text"),
    int: _exact((int,), "a whole number"),
    float: _exact((int, float), "a number", float),
    bool: _exact((bool,), "true or false"),
    type(None): _exact((type(None),), "null"),
    None: _exact((type(None),), "null"),
    datetime: _exact((str,), "a time like 2030-01-31T12:00:00Z", _moment(datetime)),
    date: _exact((str,), "a date like 2030-01-31", date.fromisoformat),
    time: _exact((str,), "a time of day like 12:00:00", _moment(time)),
    timedelta: _exact((int, float), "a number of seconds", lambda seconds: timedelta(seconds=seconds)),
    UUID: _exact((str,), "a UUID", UUID),
    Decimal: _exact((str, int, float), "a decimal number", lambda value: Decimal(str(value))),
    dict: _exact((dict,), "an object"),
}


def _checked(read: Read, checks: list[Callable[[Any], object]]) -> Read:
    def checked(value: Any) -> Any:
        value = read(value)
        for check in checks:
            check(value)
        return value

    return checked


def _any_of(reads: list[Read]) -> Read:
    def read(value: Any) -> Any:
        found: list[Any] = []
        for each in reads:
            try:
                return each(value)
            except (ValueError, PayloadMismatch) as error:
                found.append(error)
        nested = [error for error in found if isinstance(error, PayloadMismatch)]
        raise nested[0] if nested and isinstance(value, dict) else ValueError(" or ".join(map(str, found)))

    return read


def _one_of(allowed: Mapping[tuple[type, Any], Any], words: list[str]) -> Read:
    def read(value: Any) -> Any:
        try:
            return allowed[type(value), value]
        except (KeyError, TypeError):
            raise ValueError(f"must be one of {', '.join(words)}"[:200]) from None

    return read


def _list(make: Callable[[list[Any]], Any], read: Read) -> Read:
    def read_all(value: Any) -> Any:
        if type(value) is not list:
            raise ValueError("must be a list")
        return make(_each(value, [read] * len(value)))

    return read_all


def _tuple(arguments: tuple[Any, ...]) -> Read:
    if not arguments or arguments[-1:] == (...,):
        return _list(tuple, reader(arguments[0]) if arguments else reader(Any))
    reads = [reader(each) for each in arguments]

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) != len(reads):
            raise ValueError(f"must be a list of {len(reads)}")
        return tuple(_each(value, reads))

    return read


def _dict(read: Read, key: Any = str) -> Read:
    if key not in (str, Any):
        raise TypeError("an object's names are texts")

    def read_all(value: Any) -> Any:
        if type(value) is not dict:
            raise ValueError("must be an object")
        return dict(zip(value, _each(list(value.values()), [read] * len(value), list(value)), strict=True))

    return read_all


def _each(values: list[Any], reads: list[Read], names: list[str] | None = None) -> list[Any]:
    """Each value, read. Raises PayloadMismatch that says which are wrong."""
    made: list[Any] = []
    messages: dict[str, Any] = {}
    for number, (value, read) in enumerate(zip(values, reads, strict=True)):
        try:
            made.append(read(value))
        except (ValueError, PayloadMismatch) as error:
            messages[names[number] if names else str(number)] = messages_of(error)
    if messages:
        raise PayloadMismatch(messages)
    return made
