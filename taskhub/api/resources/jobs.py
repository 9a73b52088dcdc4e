"""GET /jobs/<id> and what hangs below it."""

from __future__ import annotations

import contextlib
import math
import re
import select
import socket
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from taskhub.api.context import ApiContext
from taskhub.api.responses import job_answer, json_answer
from taskhub.domain.errors import FieldProblem, InvalidRequestError
from taskhub.domain.job import TERMINAL
from taskhub.events.jobs import WaitingJobCancelled
from taskhub.services.operations.cancel import cancel_job
from taskhub.services.queries.jobs import get_errors, get_job

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_NUMBER = re.compile(r"(?=.{1,32}$)([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def blueprint(context: ApiContext) -> Blueprint:
    """The routes over one process's context."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/jobs/<job_id>")
    def show(job_id: str) -> Response:
        wait_s = _wait_s(context.settings.wait_max_s)
        row = get_job(context.store, job_id)
        if wait_s > 0 and row.status not in TERMINAL:
            with context.gate.aside():
                context.waiters.wait(row.id, wait_s, partial(_is_there, request.environ))
            row = get_job(context.store, row.id)
        return job_answer(row)

    @routes.get("/jobs/<job_id>/errors")
    def errors(job_id: str) -> Response:
        return json_answer({"errors": get_errors(context.store, job_id)})

    @routes.post("/jobs/<job_id>/cancel")
    def cancel(job_id: str) -> Response:
        is_over = cancel_job(context.store, job_id, context.gate.aside)
        row = get_job(context.store, job_id)
        if is_over:
            context.teller.tell(WaitingJobCancelled(row.id, row.queue, row.type))
        return job_answer(row, 200 if is_over else 202)

    return routes


def _wait_s(longest_s: float) -> float:
    given = request.args.getlist("wait")
    if not given:
        return 0.0
    if len(given) > 1 or not _NUMBER.fullmatch(given[0]) or math.isinf(wait_s := float(given[0])):
        problem = FieldProblem("wait", "must be a number, 0 or more, and given once")
        raise InvalidRequestError("wait is a number of seconds", [problem])
    return min(wait_s, longest_s)


def _is_there(environ: WSGIEnvironment) -> bool:
    """False once the client has hung up, where the server lets us see its connection."""
    link: socket.socket | None = environ.get("gunicorn.socket")
    if link is None:
        return True
    with contextlib.suppress(OSError, ValueError):  # reset, or closed
        readable = select.poll()
        readable.register(link.fileno(), select.POLLIN)
        return not readable.poll(0) or link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    return False
