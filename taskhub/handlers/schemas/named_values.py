"""Named values by their annotations: what a dataclass or a function takes, read from what JSON has.

Nothing is guessed: a text is no number, a truth value neither, and what is not a field is refused. Times, spans (in
seconds), UUIDs, Decimals and enums are read from the form that submissions give them. Each callable in an
`Annotated` is called with the value; its ValueError says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taskhub.handlers.schemas.payload_schema import PayloadMismatch
from taskhub.handlers.schemas.values import Read, messages_of


class NamedValues:
    """By name, how each is read; those that may lack are left out."""

    def __init__(self, reads: Mapping[str, Read], required: frozenset[str]) -> None:
        self._reads = dict(reads)
        self._required = required

    @property
    def names(self) -> list[str]:
        """In the order of their declaration."""
        return list(self._reads)

    def load(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The values that are given, as declared. Raises PayloadMismatch that tells all that is wrong."""
        values: dict[str, Any] = {}
        messages: dict[str, Any] = {name: ["is required"] for name in self._required - payload.keys()}
        for name, value in payload.items():
            read = self._reads.get(name)
            if read is None:
                messages[name] = ["is not a field"]
                continue
            try:
                values[name] = read(value)
            except (ValueError, PayloadMismatch) as error:
                messages[name] = messages_of(error)
        if messages:
            raise PayloadMismatch(messages)
        return values


def made(make: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """An object of the values. Raises PayloadMismatch if its own code (`__post_init__`) finds them wrong."""
    try:
        return make(**values)
    except ValueError as error:
        raise PayloadMismatch({"_schema": messages_of(error)}) from None
