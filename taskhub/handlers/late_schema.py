"""A schema that is made when the first payload is checked.

Workers check none: without a schema of the user's they need not import the library, which is a tenth of their start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marshmallow import Schema


class LateSchema:
    """For the types that every installation knows."""

    def __init__(self, make: Callable[[], Schema]) -> None:
        self._make = make

    @cached_property
    def _schema(self) -> Schema:
        return self._make()

    def validate(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """As marshmallow's `Schema.validate`."""
        return dict(self._schema.validate(data))
