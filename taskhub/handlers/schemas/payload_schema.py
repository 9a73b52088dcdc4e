"""What is asked of any schema, and how a payload does not fit it: nested messages, as marshmallow has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from taskhub.domain import storable
from taskhub.domain.errors import FieldProblem
from taskhub.domain.job_request import shown

WHOLE = "_schema"  # in place of a field's name, for what concerns all of them


class PayloadMismatch(Exception):
    """A payload does not fit: `messages` are nested dicts and lists of texts."""

    def __init__(self, messages: Any) -> None:
        super().__init__("the payload does not fit")
        self.messages = messages


class PayloadSchema:
    """What the ways in and the worker ask of a schema; payloads come without their `type`."""

    def load(self, payload: Mapping[str, Any]) -> Any:
        """The object that the handler works with. Raises PayloadMismatch."""
        raise NotImplementedError

    def problems(self, payload: Mapping[str, Any]) -> Any:
        """What is wrong, in nested messages; empty if nothing is."""
        try:
            self.load(payload)
        except PayloadMismatch as mismatch:
            return mismatch.messages
        return {}


def flat(messages: Any, path: str) -> Iterator[FieldProblem]:
    """Each message with the path of its field; `path` is the payload's own."""
    if isinstance(messages, dict):
        for name, inner in messages.items():
            yield from flat(inner, path if name == WHOLE else f"{path}.{shown(storable.text(name, 200))}")
    elif isinstance(messages, list):
        for inner in messages:
            yield from flat(inner, path)
    else:
        yield FieldProblem(path, storable.text(messages, 200))
