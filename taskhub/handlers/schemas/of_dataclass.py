"""A dataclass: its annotations say what its fields may be, its defaults which may lack."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from taskhub.handlers.schemas.named_values import NamedValues, made
from taskhub.handlers.schemas.payload_schema import PayloadSchema
from taskhub.handlers.schemas.values import reader


class DataclassSchema(PayloadSchema):
    def __init__(self, made_of: Any) -> None:
        hints = get_type_hints(made_of, include_extras=True)
        fields = [field for field in dataclasses.fields(made_of) if field.init]
        required = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]
        self._class = made_of
        self._fields = NamedValues({field.name: reader(hints[field.name]) for field in fields}, frozenset(required))

    def load(self, payload: Any) -> Any:
        if not isinstance(payload, Mapping):
            raise ValueError("must be an object")
        return made(self._class, self._fields.load(payload))
