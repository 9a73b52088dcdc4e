"""A type's own schema may do anything: what is answered is a refusal of its payload, in words that can be sent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from marshmallow import Schema, ValidationError, validates_schema

from taskhub.domain.errors import InvalidPayloadError
from taskhub.domain.job_request import JobRequest
from taskhub.handlers.registry import Handler, Registry
from taskhub.services.submission.validation import Validator


class _Unreadable:
    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    "raised",
    [
        SystemExit(2),
        RecursionError(),
        ValidationError(["half a character \udfff"] * 1000),
        ValidationError({"\ud800\n": [_Unreadable(), "\0", float("nan")]}),  # type: ignore[dict-item]
    ],
    ids=["exit", "recursion", "many surrogates", "odd messages"],
)
def test_a_schema_that_raises_anything_refuses_its_payload(raised: BaseException) -> None:
    class Odd(Schema):
        @validates_schema
        def check(self, data: Any, **_: Any) -> None:
            raise raised

    registry = Registry()
    registry.add(Handler("odd", lambda job: None, schema=Odd()))
    validator = Validator(registry, max_attempts=1, max_payload_bytes=1000)
    with pytest.raises(InvalidPayloadError) as refusal:
        validator.validate(JobRequest(type="odd", payload={"type": "odd"}))
    assert orjson.dumps([problem.__dict__ for problem in refusal.value.problems])
