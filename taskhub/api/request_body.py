"""A request's body as the application reads it: from memory, and known to be read or not."""

from __future__ import annotations

from typing import Any

from gunicorn.http.body import Body, LengthReader


class RequestBody(Body):  # type: ignore[misc]
    """gunicorn's body. `request` is gunicorn's too."""

    def __init__(self, request: Any) -> None:
        super().__init__(request.body.reader)
        self.request = request
        self.whole_s: float | None = None  # since when a thread could answer the request

    @property
    def is_read(self) -> bool:
        """True if all of it was read: where the next request begins is known."""
        left = self.reader.length if isinstance(self.reader, LengthReader) else self.reader.parser
        return not left and not self.failed
