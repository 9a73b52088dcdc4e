"""What is called to run a job: the handler's function, and before it the check of its payload."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from taskhub.handlers.job import Job
from taskhub.handlers.raises import InvalidPayload
from taskhub.handlers.schemas import PayloadSchema
from taskhub.handlers.schemas.of_signature import SignatureSchema
from taskhub.handlers.schemas.payload_schema import PayloadMismatch, flat

_MAX_PROBLEMS = 20

Run = Callable[[Job], Any]


def running(function: Callable[..., Any], schema: PayloadSchema | None) -> Run:
    """The function itself where nothing else is to be done: then it costs nothing."""
    return function if schema is None else _checking(function, schema)


def _checking(function: Callable[..., Any], schema: PayloadSchema) -> Run:
    """A payload that came past the other checks (from SQL, from a program without the handler, before a new schema)."""
    is_spread = isinstance(schema, SignatureSchema)

    def run(job: Job) -> Any:
        try:
            job.data = schema.load(job.payload)
        except PayloadMismatch as mismatch:
            problems = [
                f"{each.path}: {each.message}" for each in islice(flat(mismatch.messages, "payload"), _MAX_PROBLEMS)
            ]
            raise InvalidPayload(f"the payload does not fit type {job.type}: {'; '.join(problems)}") from None
        return function(job, **job.data) if is_spread else function(job)

    return run
