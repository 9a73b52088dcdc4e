"""What is refused before there is a request: in plain words, and with the time to come again where that helps."""

from __future__ import annotations

import json

from gunicorn.http import errors

from taskhub.api.problem_document import refusal_bytes
from taskhub.api.refusals import REFUSALS, told


def test_no_refusal_speaks_the_librarys_language() -> None:
    names = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, REFUSALS)]
    assert len(names) > 10
    for name in names:
        kind = vars(errors)[name]
        status, detail = told(kind.__new__(kind))
        assert 400 <= status <= 501
        assert not [each for each in names if each in detail]


def test_who_is_turned_away_is_told_when_to_come_again() -> None:
    for status, is_told in ((503, True), (408, False), (400, False)):
        head, _, body = refusal_bytes(status, "unavailable", "try again", "a-name").partition(b"\r\n\r\n")
        assert (b"\r\nRetry-After: 1\r\n" in head) == is_told
        assert json.loads(body)["request_id"] == "a-name"
