"""A marshmallow schema; its unknown fields are refused unless its Meta says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from taskhub.handlers.schemas.payload_schema import PayloadMismatch, PayloadSchema


class MarshmallowSchema(PayloadSchema):
    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def problems(self, payload: Mapping[str, Any]) -> Any:
        return self._schema.validate(payload)

    def load(self, payload: Mapping[str, Any]) -> Any:
        try:
            return self._schema.load(payload)
        except ValidationError as error:
            raise PayloadMismatch(error.messages) from None
