"""The job types that every installation knows: for a first try, for probes and for tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from taskhub.handlers.late_schema import LateSchema
from taskhub.handlers.registry import handler

if TYPE_CHECKING:
    from marshmallow import Schema


def _sleep_payload() -> Schema:
    from marshmallow import Schema, fields, validate

    return Schema.from_dict({"seconds": fields.Float(required=True, validate=validate.Range(min=0, max=86_400))})()


def _fail_payload() -> Schema:
    from marshmallow import Schema, fields, validate

    return Schema.from_dict(
        {
            "message": fields.String(load_default="failed on request", validate=validate.Length(max=1_000)),
            "times": fields.Integer(load_default=None, allow_none=True, validate=validate.Range(min=0, max=1_000)),
        }
    )()


@handler("demo")
def demo(job: Any) -> Any:
    """Return the payload."""
    return job.payload


@handler("echo")
def echo(job: Any) -> Any:
    """Return the payload."""
    return job.payload


@handler("sleep", schema=LateSchema(_sleep_payload))
def sleep(job: Any) -> dict[str, float]:
    """Sleep for `seconds`."""
    time.sleep(job.payload["seconds"])
    return {"slept_s": job.payload["seconds"]}


@handler("fail", schema=LateSchema(_fail_payload))
def fail(job: Any) -> dict[str, int]:
    """Fail while `attempt <= times`; without `times`, always."""
    times = job.payload.get("times")
    if times is None or job.attempt <= times:
        raise RuntimeError(job.payload.get("message", "failed on request"))
    return {"attempt": job.attempt}
