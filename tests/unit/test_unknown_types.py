"""Jobs of a type that nobody here knows are told of once a minute, with what is known."""

from __future__ import annotations

import json
import os

import pytest

from taskhub import clock
from taskhub.child.unknown_types import UnknownTypes
from taskhub.domain.job import ClaimedJob
from taskhub.logs import loggers
from taskhub.logs.json_lines import JsonLines
from taskhub.logs.process_log import ProcessLog


def test_an_unknown_type_is_one_sentence_a_minute_that_says_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((1000.0, 1001.0, 1030.0, 1059.0, 1061.0, 1062.0, 1063.0))
    monkeypatch.setattr(clock, "monotonic_s", lambda: next(times))
    job = ClaimedJob("id-1", "nope", 1, 5, 0, 0, None, "{}")
    readable, writable = os.pipe()
    unknown = UnknownTypes()
    loggers.use(ProcessLog(10, JsonLines(), writable))
    try:
        for _ in range(6):
            unknown.tell(job, "q")
        unknown.tell(job._replace(type="other"), "q")
        lines = [json.loads(line) for line in os.read(readable, 65536).splitlines()]
    finally:
        loggers.use(None)
        os.close(readable)
        os.close(writable)
    assert [(line["type"], line.get("others_since")) for line in lines] == [
        ("nope", None),
        ("nope", 3),
        ("other", None),
    ]
    assert lines[0]["message"].startswith("this worker has no handler for type nope and puts its jobs back; it knows ")
