"""A pydantic model, of version 2; its unknown fields are ignored unless its configuration says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from taskhub.handlers.schemas.payload_schema import WHOLE, PayloadMismatch, PayloadSchema


class PydanticSchema(PayloadSchema):
    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def load(self, payload: Mapping[str, Any]) -> BaseModel:
        try:
            return self._model.model_validate(payload)
        except ValidationError as error:
            raise PayloadMismatch(_nested(error)) from None


def _nested(error: ValidationError) -> dict[str, list[str]]:
    """One level is enough: the names of a path are joined as the flat form joins them."""
    messages: dict[str, list[str]] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in each["loc"]) or WHOLE
        messages.setdefault(path, []).append(each["msg"])
    return messages
