"""GET /jobs/<id> and what hangs below it."""

from __future__ import annotations

import math

from flask import Blueprint, Response, request

from taskhub.api.answers import job_answer, json_answer
from taskhub.api.services import Services
from taskhub.domain.errors import FieldProblem, InvalidRequestError, TooManyWaitersError
from taskhub.domain.job import TERMINAL
from taskhub.domain.job_object import JobRow
from taskhub.logs import get_logger
from taskhub.services.cancel import cancel_job
from taskhub.services.inspect import get_errors, get_job, wait_for_end

log = get_logger(__name__)

_LONGEST_NUMBER = 32


def blueprint(services: Services) -> Blueprint:
    """The routes over one process's services."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/jobs/<job_id>")
    def show(job_id: str) -> Response:
        wait_s = _wait_s(services.settings.wait_max_s)
        row = get_job(services.store, job_id)
        if wait_s > 0 and row.status not in TERMINAL:
            row = _wait(services, row.id, wait_s)
        return job_answer(row)

    @routes.get("/jobs/<job_id>/errors")
    def errors(job_id: str) -> Response:
        return json_answer({"errors": get_errors(services.store, job_id)})

    @routes.post("/jobs/<job_id>/cancel")
    def cancel(job_id: str) -> Response:
        is_over = cancel_job(services.store, job_id)
        row = get_job(services.store, job_id)
        if is_over:
            log.info("job.cancelled", extra={"job_id": row.id, "type": row.type, "queue": row.queue})
        return job_answer(row, 200 if is_over else 202)

    return routes


def _wait_s(longest_s: float) -> float:
    text = request.args.get("wait")
    if text is None:
        return 0.0
    try:
        wait_s = float(text) if len(text) <= _LONGEST_NUMBER else math.nan
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s < math.inf:
        raise InvalidRequestError("wait is a number of seconds", [FieldProblem("wait", "must be a number, 0 or more")])
    return min(wait_s, longest_s)


def _wait(services: Services, job_id: str, wait_s: float) -> JobRow:
    if not services.waiters.acquire(blocking=False):
        raise TooManyWaitersError("this process holds as many waiting requests as it may; ask again, or without wait")
    try:
        return wait_for_end(services.store, job_id, wait_s, services.is_draining)
    finally:
        services.waiters.release()
