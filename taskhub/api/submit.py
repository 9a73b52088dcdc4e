"""POST /jobs and POST /jobs/bulk."""

from __future__ import annotations

import hashlib
import logging

from flask import Blueprint, Response, request

from taskhub.api.answers import job_answer, json_answer
from taskhub.api.body import read_json
from taskhub.api.errors import RequestError
from taskhub.api.observe import request_id
from taskhub.api.services import Services
from taskhub.domain import strict_json
from taskhub.domain.envelope import Envelope, is_key, read_envelope
from taskhub.domain.errors import FieldProblem, InvalidInputError, InvalidRequestError
from taskhub.domain.submission import Submission
from taskhub.logs import get_logger
from taskhub.metrics import definitions as metrics
from taskhub.metrics.recorder import QueueLabels
from taskhub.services.keyed import CREATED, DUPLICATE, REPLAYED
from taskhub.services.submission.validation import merged
from taskhub.settings.fields import Settings

log = get_logger(__name__)

MAX_BULK_JOBS = 10_000
_MAX_BAD = 50


def body_limits(settings: Settings) -> dict[bytes, int]:
    """The paths whose POST takes a body, and how long that may be."""
    return {b"/jobs": settings.max_body_bytes, b"/jobs/bulk": settings.max_bulk_bytes}


def blueprint(services: Services) -> Blueprint:
    """The two routes over one process's services."""
    routes = Blueprint("submit", __name__)
    settings = services.settings
    labels = QueueLabels()

    @routes.post("/jobs")
    def post_job() -> Response:
        key = _idempotency_key()
        body = read_json(request, settings.max_body_bytes)
        [submission] = services.validator.accept([read_envelope(body)], [""])
        services.limits.check([submission.queue])
        if key is not None:
            fingerprint = hashlib.sha256(strict_json.canonical(body)).hexdigest()
            submission = submission._replace(idempotency_key=key, fingerprint=fingerprint)
        submitted = services.submitter.submit(submission)
        if submitted.kind == CREATED:
            _note([submission], labels)
            return job_answer(submitted.row, 202, location=True)
        if submitted.kind == REPLAYED:
            answer = job_answer(submitted.row, 200, location=True)
            answer.headers["Idempotent-Replayed"] = "true"
            return answer
        assert submitted.kind == DUPLICATE
        return job_answer(submitted.row, 200, location=True, duplicate=True)

    @routes.post("/jobs/bulk")
    def post_jobs() -> Response:
        if "Idempotency-Key" in request.headers:
            raise RequestError("invalid_header", "Idempotency-Key is for POST /jobs; in bulk, give jobs a unique_key")
        envelopes = _read_bulk(read_json(request, settings.max_bulk_bytes))
        paths = [f"jobs.{number}." for number in range(len(envelopes))]
        submissions = services.validator.accept(envelopes, paths)
        services.limits.check({submission.queue for submission in submissions})
        accepted = services.submitter.submit_all(submissions)
        created = set(accepted)
        _note([submission for submission in submissions if submission.id in created], labels)
        return json_answer({"ids": accepted}, 202)

    return routes


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not is_key(key):
        raise RequestError("invalid_header", "Idempotency-Key must be 1 to 255 visible ASCII characters")
    return key


def _read_bulk(body: object) -> list[Envelope]:
    """The envelopes of a bulk request. Raises InvalidRequestError that tells all that is wrong, to a bound."""
    if type(body) is not dict:
        raise InvalidRequestError("the request is a JSON object", [FieldProblem("", "must be an object")])
    unknown = [FieldProblem(name[:64], "is not a field") for name in body if name != "jobs"]
    jobs = body.get("jobs")
    if type(jobs) is not list or not 1 <= len(jobs) <= MAX_BULK_JOBS:
        unknown.append(FieldProblem("jobs", f"must be an array of 1 to {MAX_BULK_JOBS} jobs"))
    if unknown:
        raise InvalidRequestError("the request has bad fields", unknown[:_MAX_BAD])
    envelopes: list[Envelope] = []
    errors: list[InvalidInputError] = []
    for number, job in enumerate(jobs or ()):
        try:
            envelopes.append(read_envelope(job, f"jobs.{number}"))
        except InvalidRequestError as error:
            errors.append(error)
            if len(errors) >= _MAX_BAD:
                break
    if errors:
        raise merged(errors)
    return envelopes


def _note(submissions: list[Submission], labels: QueueLabels) -> None:
    """Count and log jobs that are committed."""
    counts: dict[tuple[str, str], int] = {}
    is_logged = log.isEnabledFor(logging.INFO)
    asked_by = request_id(request.environ)
    for submission in submissions:
        place = (labels.label(submission.queue), submission.type)
        counts[place] = counts.get(place, 0) + 1
        if is_logged:
            fields = {"job_id": submission.id, "type": submission.type, "queue": submission.queue}
            log.info("job.submitted", extra={**fields, "request_id": asked_by})
    for place, count in counts.items():
        metrics.JOBS_SUBMITTED.labels(*place).inc(count)
