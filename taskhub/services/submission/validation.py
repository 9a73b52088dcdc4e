"""Turn what a client asked for into rows to insert: is the type known, does its schema hold, what are its defaults?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from taskhub import ids
from taskhub.domain import strict_json
from taskhub.domain.errors import FieldProblem, InvalidInputError, InvalidPayloadError, UnknownTypeError
from taskhub.domain.job import DEFAULT_PRIORITY, DEFAULT_QUEUE
from taskhub.domain.job_request import MAX_PROBLEMS, JobRequest
from taskhub.domain.new_job import NewJob
from taskhub.handlers.registry import Handler, Registry
from taskhub.handlers.schemas.payload_schema import flat
from taskhub.logs import get_logger

T = TypeVar("T")
R = TypeVar("R")

log = get_logger(__name__)


class Validator:
    """Checks requests against the registered types.

    must_know: refuse types that are not registered here; a Producer in another program need not know them.
    encode: writes payloads; those of a Producer come from no JSON and must be checked by it.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        max_attempts: int,
        max_payload_bytes: int,
        must_know: bool = True,
        encode: Callable[[Any], str] = strict_json.encode,
    ) -> None:
        self._registry = registry
        self._max_attempts = max_attempts
        self._max_payload_bytes = max_payload_bytes
        self._must_know = must_know
        self._encode = encode

    def validate(self, request: JobRequest) -> NewJob:
        """Raises InvalidInputError."""
        [job_id] = ids.new_ids(1)
        return self._new_job(job_id, request, "")

    def validate_all(self, requests: list[JobRequest], first: int = 0) -> list[NewJob]:
        """A job for each of the requests `jobs.<first>` on. Raises InvalidInputError that tells all problems."""
        names = zip(ids.new_ids(len(requests)), requests, strict=True)
        return all_or_problems(lambda number, item: self._new_job(*item, f"jobs.{number}."), names, first)

    def _new_job(self, job_id: str, request: JobRequest, path: str) -> NewJob:
        handler = self._registry.get(request.type)
        if handler is None and self._must_know:
            known = ", ".join(self._registry.types())
            problem = FieldProblem(f"{path}payload.type", "is not a known type")
            raise UnknownTypeError(f"unknown type {request.type}; known types: {known}", [problem])
        payload = self._encode(request.payload)
        if handler is not None and handler.schema is not None:
            _check_schema(handler, self._as_json(request.payload, payload), path)
        if len(payload) > self._max_payload_bytes:
            problem = FieldProblem(f"{path}payload", f"takes more than {self._max_payload_bytes} bytes as ASCII JSON")
            raise InvalidPayloadError("the payload is too large", [problem])
        defaults = handler or _NO_HANDLER
        return NewJob(
            job_id,
            request.queue or defaults.queue,
            request.type,
            defaults.priority if request.priority is None else request.priority,
            payload,
            request.max_attempts or defaults.max_attempts or self._max_attempts,
            request.timeout_s,
            request.delay_s,
            request.run_at,
            request.expires_at,
            request.unique_key,
            request.tags,
        )

    def _as_json(self, payload: dict[str, Any], text: str) -> dict[str, Any]:
        """The payload as the handler will see it."""
        if self._encode is strict_json.encode:
            return payload
        value: dict[str, Any] = strict_json.decode(text.encode())
        return value


def all_or_problems(make: Callable[[int, T], R], items: Iterable[T], first: int = 0) -> list[R]:
    """What is made of each, given its number. Raises one InvalidInputError for all that were refused, to a bound."""
    made: list[R] = []
    errors: list[InvalidInputError] = []
    for number, item in enumerate(items, start=first):
        try:
            made.append(make(number, item))
        except InvalidInputError as error:
            errors.append(error)
            if len(errors) >= MAX_PROBLEMS:
                break
    if len(errors) > 1:  # it is of the kind of the first
        alike = [error for error in errors if type(error) is type(errors[0])]
        problems = [problem for error in alike for problem in error.problems]
        raise type(errors[0])(str(errors[0]), problems[:MAX_PROBLEMS])
    if errors:
        raise errors[0]
    return made


def _check_schema(handler: Handler, payload: dict[str, Any], path: str) -> None:
    assert handler.schema is not None
    try:
        found = handler.schema.problems({name: value for name, value in payload.items() if name != "type"})
    except (Exception, SystemExit):
        # The schema is the installation's own code and stumbled over this payload: refuse it, and tell its owner.
        text = f"the schema of {handler.type} raised an error of its own: its jobs are refused"
        log.exception("schema.failed", extra={"type": handler.type, "text": text})
        found = {"_schema": ["could not be checked: its schema failed"]}
    if found:
        problems = list(flat(found, f"{path}payload"))[:MAX_PROBLEMS]
        raise InvalidPayloadError(f"the payload does not fit type {handler.type}", problems)


_NO_HANDLER = Handler("", lambda job: None, queue=DEFAULT_QUEUE, priority=DEFAULT_PRIORITY)
