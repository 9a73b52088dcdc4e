"""A handler's own parameters after the job: `def resize(job, image: str, width: int)` says what its payloads hold."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from taskhub.handlers.schemas.named_values import NamedValues
from taskhub.handlers.schemas.payload_schema import PayloadSchema
from taskhub.handlers.schemas.values import reader

_FREE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class SignatureSchema(PayloadSchema):
    """`load` gives the arguments by name."""

    def __init__(self, function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
        hints = get_type_hints(function, include_extras=True)
        self._arguments = NamedValues(
            {each.name: reader(hints.get(each.name, Any)) for each in parameters},
            frozenset(each.name for each in parameters if each.default is each.empty),
        )

    def load(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return self._arguments.load(payload)


def schema_of_signature(function: Any) -> SignatureSchema | None:
    """None for a function of the job alone, or of anything. Raises TypeError for annotations that cannot be read."""
    if not inspect.isfunction(function):
        return None
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if not parameters or any(each.kind in _FREE for each in parameters):
        return None
    return SignatureSchema(function, parameters)
