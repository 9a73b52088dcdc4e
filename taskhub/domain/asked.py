"""What a program asks for, in values of Python, as a client's JSON would say it; for every way in from Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskhub.domain import storable
from taskhub.domain.errors import FieldProblem, InvalidPayloadError, InvalidRequestError, MalformedJsonError

_AS_THEY_ARE = (str, int, bool, type(None))


def typed_payload(type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with its type. Raises InvalidPayloadError if it names another: what data says chooses no handler."""
    if payload.get("type", type) != type:
        raise InvalidPayloadError("the payload names another type", [FieldProblem("payload.type", f"must be {type}")])
    return {"type": type, **payload}


def plain_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload of times, UUIDs, Decimals, enums and dataclasses as JSON has them. Raises MalformedJsonError."""
    try:
        copy: dict[str, Any] = storable.plain(dict(payload))
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedJsonError(f"is not JSON: {error}"[:200]) from None
    return copy


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A submission's options in the same way. Raises InvalidRequestError, which names the option."""
    if "payload" in options:
        raise InvalidRequestError("payload is not an option", [FieldProblem("payload", "is given twice")])
    return {name: value if type(value) in _AS_THEY_ARE else _plain(name, value) for name, value in options.items()}


def _plain(name: str, value: Any) -> Any:
    try:
        return storable.plain(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError("the request has bad fields", [FieldProblem(name, str(error)[:200])]) from None
