"""Answers in JSON; a job's payload and result go from the database into the answer as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response

from taskhub.domain.job_view import JobRow, job_view

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class JsonResponse(Response):
    """A whole answer of bytes; sent without the library's care for streams and relative addresses."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = self.get_data()
        self.headers["Content-Length"] = str(len(body))
        start_response(self.status, self.headers.to_wsgi_list())
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def json_answer(value: Any, status: int = 200, media_type: str = "application/json") -> JsonResponse:
    return JsonResponse(orjson.dumps(value), status, content_type=media_type)


def job_answer(row: JobRow, status: int = 200, *, location: bool = False, duplicate: bool = False) -> JsonResponse:
    """A job object; `location` adds where it is found, `duplicate` that it stands for the one submitted."""
    shown = job_view(row, orjson.Fragment)
    if duplicate:
        shown["duplicate"] = True
    answer = json_answer(shown, status)
    if location:
        answer.headers["Location"] = f"/jobs/{row.id}"
    return answer
