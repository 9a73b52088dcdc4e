"""POST /jobs and POST /jobs/bulk."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, request

from taskhub.api.context import ApiContext
from taskhub.api.json_body import read_json
from taskhub.api.problems import RequestError
from taskhub.api.request_log import request_id
from taskhub.api.responses import job_answer, json_answer
from taskhub.domain import strict_json
from taskhub.domain.errors import FieldProblem, InvalidInputError, InvalidRequestError
from taskhub.domain.job_request import JobRequest, is_key, read_job_request
from taskhub.events.jobs import JobsSubmitted
from taskhub.services.submission.idempotency import CREATED, DUPLICATE, REPLAYED
from taskhub.services.submission.submitter import Submitted
from taskhub.services.submission.validation import merged
from taskhub.settings.fields import Settings

MAX_BULK_JOBS = 10_000
_MAX_BAD = 50


def body_limits(settings: Settings) -> dict[bytes, int]:
    """The paths whose POST takes a body, and how long that may be."""
    return {b"/jobs": settings.max_body_bytes, b"/jobs/bulk": settings.max_bulk_bytes}


def blueprint(context: ApiContext) -> Blueprint:
    """The two routes over one process's context."""
    routes = Blueprint("submit", __name__)
    settings = context.settings
    tell = context.teller.tell

    @routes.post("/jobs")
    def post_job() -> Response:
        key = _idempotency_key()
        body = read_json(request, settings.max_body_bytes)
        [new_job] = context.validator.validate([read_job_request(body)], [""])
        context.limits.check([new_job.queue])
        if key is not None:
            fingerprint = hashlib.sha256(strict_json.canonical(body)).hexdigest()
            new_job = new_job._replace(idempotency_key=key, fingerprint=fingerprint)
        submitted = context.submitter.submit(new_job)
        if submitted.kind == CREATED:
            tell(JobsSubmitted([new_job], request_id(request.environ)))
        return _answer(submitted)

    @routes.post("/jobs/bulk")
    def post_jobs() -> Response:
        if "Idempotency-Key" in request.headers:
            raise RequestError("invalid_header", "Idempotency-Key is for POST /jobs; in bulk, give jobs a unique_key")
        requests = _read_bulk(read_json(request, settings.max_bulk_bytes))
        paths = [f"jobs.{number}." for number in range(len(requests))]
        new_jobs = context.validator.validate(requests, paths)
        context.limits.check({new_job.queue for new_job in new_jobs})
        accepted = context.submitter.submit_all(new_jobs)
        created = set(accepted)
        made = [new_job for new_job in new_jobs if new_job.id in created]
        tell(JobsSubmitted(made, request_id(request.environ)))
        return json_answer({"ids": accepted}, 202)

    return routes


def _answer(submitted: Submitted) -> Response:
    if submitted.kind == CREATED:
        return job_answer(submitted.row, 202, location=True)
    answer = job_answer(submitted.row, 200, location=True, duplicate=submitted.kind == DUPLICATE)
    if submitted.kind == REPLAYED:
        answer.headers["Idempotent-Replayed"] = "true"
    return answer


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not is_key(key):
        raise RequestError("invalid_header", "Idempotency-Key must be 1 to 255 visible ASCII characters")
    return key


def _read_bulk(body: object) -> list[JobRequest]:
    """The requests of a bulk request. Raises InvalidRequestError that tells all that is wrong, to a bound."""
    if type(body) is not dict:
        raise InvalidRequestError("the request is a JSON object", [FieldProblem("", "must be an object")])
    unknown = [FieldProblem(name[:64], "is not a field") for name in body if name != "jobs"]
    jobs = body.get("jobs")
    if type(jobs) is not list or not 1 <= len(jobs) <= MAX_BULK_JOBS:
        unknown.append(FieldProblem("jobs", f"must be an array of 1 to {MAX_BULK_JOBS} jobs"))
    if unknown:
        raise InvalidRequestError("the request has bad fields", unknown[:_MAX_BAD])
    requests: list[JobRequest] = []
    errors: list[InvalidInputError] = []
    for number, job in enumerate(jobs or ()):
        try:
            requests.append(read_job_request(job, f"jobs.{number}"))
        except InvalidRequestError as error:
            errors.append(error)
            if len(errors) >= _MAX_BAD:
                break
    if errors:
        raise merged(errors)
    return requests
