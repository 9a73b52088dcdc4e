"""POST /jobs and POST /jobs/bulk."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, request

from taskhub.api.body import RequestError, read_json
from taskhub.api.context import ApiContext
from taskhub.api.problems import problem
from taskhub.api.request_log import note_submitted, request_id
from taskhub.api.responses import job_answer, json_answer
from taskhub.domain import strict_json
from taskhub.domain.errors import FieldProblem, InvalidRequestError
from taskhub.domain.job_request import MAX_PROBLEMS, JobRequest, is_key, read_job_request
from taskhub.domain.new_job import CREATED, EXISTING, REFUSED, REPLAYED, NewJob, Submitted, created_row
from taskhub.events.jobs import JobsSubmitted
from taskhub.services.submission.validation import all_or_problems
from taskhub.settings.fields import Settings

MAX_BULK_JOBS = 10_000


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
        new_job = context.validator.validate(read_job_request(body))
        if context.limits is not None:
            context.limits.check([new_job.queue])
        if key is not None:
            fingerprint = hashlib.sha256(strict_json.canonical(body)).hexdigest()
            new_job = new_job._replace(idempotency_key=key, fingerprint=fingerprint)
        [submitted] = context.submitter.submit([new_job])
        if submitted.kind == CREATED:
            note_submitted(request.environ, new_job)
        return _answer(new_job, submitted)

    @routes.post("/jobs/bulk")
    def post_jobs() -> Response:
        if "Idempotency-Key" in request.headers:
            raise RequestError("invalid_header", "Idempotency-Key is for POST /jobs; in bulk, give jobs a unique_key")
        requests = _read_bulk(read_json(request, settings.max_bulk_bytes))
        new_jobs = context.validator.validate_all(requests)
        if context.limits is not None:
            context.limits.check({new_job.queue for new_job in new_jobs})
        results = context.submitter.submit(new_jobs)
        pairs = zip(new_jobs, results, strict=True)
        created = [new_job for new_job, submitted in pairs if submitted.kind == CREATED]
        tell(JobsSubmitted(created, {"request_id": request_id(request.environ)}))
        for refused in (submitted for submitted in results if submitted.kind in REFUSED):
            return problem(refused.kind, refused.text)
        return json_answer({"ids": [submitted.id for submitted in results]}, 202)

    return routes


def _answer(new_job: NewJob, submitted: Submitted) -> Response:
    if submitted.inserted is not None:
        return job_answer(created_row(new_job, submitted.inserted), 202, location=True)
    if submitted.row is None:
        return problem(submitted.kind, submitted.text)
    answer = job_answer(submitted.row, 200, location=True, duplicate=submitted.kind == EXISTING)
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
        raise InvalidRequestError("the request has bad fields", unknown[:MAX_PROBLEMS])
    return all_or_problems(lambda number, job: read_job_request(job, f"jobs.{number}"), jobs or ())
