"""What a client may say about a job: every field with its bounds, for the HTTP API and the Producer alike.

A field that is null counts as not given. All problems of a request are told at once.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from taskhub.domain.errors import FieldProblem, InvalidRequestError
from taskhub.domain.job import NAME

MAX_ATTEMPTS = 100
MAX_TIMEOUT_S = 7 * 86_400
MAX_DELAY_S = 365 * 86_400
MAX_TAGS = 20
MAX_PROBLEMS = 50
YEARS = range(1970, 3000)

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?P<fraction>\.[0-9]{1,9})?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class JobRequest(NamedTuple):
    """A submission as it was asked for; None where nothing was said. Moments are RFC 3339 texts, UTC."""

    payload: dict[str, Any]
    type: str
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout_s: float | None = None
    delay_s: float | None = None
    run_at: str | None = None
    expires_at: str | None = None
    unique_key: str | None = None
    tags: tuple[str, ...] = ()


Read = Callable[[Any], Any]  # gives the value of a field, or raises ValueError that says what is allowed


def read_job_request(value: Any, path: str = "") -> JobRequest:
    """Check one submission; `path` is where it stands in the request. Raises InvalidRequestError."""
    if type(value) is not dict:
        raise InvalidRequestError("a job is a JSON object", [FieldProblem(path, "must be an object")])
    problems: list[FieldProblem] = []
    given: dict[str, Any] = {}
    for name, item in value.items():
        read = FIELDS.get(name)
        if read is None:
            problems.append(FieldProblem(_join(path, shown(name)), _unknown(name)))
        elif item is not None:
            try:
                given[name] = read(item)
            except ValueError as error:
                problems.append(FieldProblem(_join(path, name), str(error)))
    payload = given.get("payload")
    if payload is not None:
        problems += _payload_problems(payload, _join(path, "payload"))
    elif value.get("payload") is None:
        problems.append(FieldProblem(_join(path, "payload"), "is required"))
    if given.get("run_at") is not None and given.get("delay_s") is not None:
        problems.append(FieldProblem(_join(path, "delay_s"), "cannot be combined with run_at"))
    if problems:
        raise InvalidRequestError("the request has bad fields", problems[:MAX_PROBLEMS])
    return JobRequest(type=given["payload"]["type"], **given)


def _unknown(name: str) -> str:
    """What is said of a field that does not exist."""
    near = difflib.get_close_matches(name[:64], FIELDS, 1)
    return f"is not a field; did you mean {near[0]}?" if near else "is not a field"


def is_key(text: str) -> bool:
    """True for what may be a unique_key or an Idempotency-Key: 1 to 255 visible ASCII characters."""
    return _KEY.fullmatch(text) is not None


def shown(name: str) -> str:
    """A name that a client chose, as it may appear in an answer."""
    return ascii(name[:64])[1:-1]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _payload_problems(payload: dict[str, Any], path: str) -> list[FieldProblem]:
    job_type = payload.get("type")
    if job_type is None:
        return [FieldProblem(f"{path}.type", "is required")]
    if type(job_type) is not str or not NAME.fullmatch(job_type):
        return [FieldProblem(f"{path}.type", "must be 1 to 64 of a-z 0-9 _ . -, the first a letter or digit")]
    return []


def _read_object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("must be an object")
    return value


def _read_name(value: Any) -> str:
    if type(value) is not str or not NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 of a-z 0-9 _ . -, the first a letter or digit")
    return value


def _whole(low: int, high: int) -> Read:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def _seconds(high: int, *, may_be_zero: bool) -> Read:
    allowed = f"must be a number of seconds, {'0 or more' if may_be_zero else 'more than 0'} and at most {high}"

    def read(value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= high:
            raise ValueError(allowed)
        if value == 0 and not may_be_zero:
            raise ValueError(allowed)
        return float(value)

    return read


def _read_moment(value: Any) -> str:
    match = _MOMENT.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ValueError("must be a time like 2030-01-31T12:00:00Z, with its zone")
    zone = "+00:00" if match["zone"] in "Zz" else match["zone"]
    fraction = (match["fraction"] or ".0")[:7].ljust(7, "0")
    try:
        moment = datetime.fromisoformat(f"{value[:10]}T{value[11:19]}{fraction}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError("is not a valid time") from None
    if moment.year not in YEARS:
        raise ValueError(f"must be from the year {YEARS[0]} to {YEARS[-1]}")
    return moment.isoformat().replace("+00:00", "Z")


def _read_key(value: Any) -> str:
    if type(value) is not str or not is_key(value):
        raise ValueError("must be 1 to 255 visible ASCII characters")
    return value


def _read_tags(value: Any) -> tuple[str, ...]:
    if type(value) is not list or len(value) > MAX_TAGS or not all(map(_is_tag, value)):
        raise ValueError(f"must be at most {MAX_TAGS} strings of 1 to 64 printable characters")
    return tuple(value)


def _is_tag(value: Any) -> bool:
    return type(value) is str and 1 <= len(value) <= 64 and value.isprintable()


FIELDS: dict[str, Read] = {
    "payload": _read_object,
    "queue": _read_name,
    "priority": _whole(0, 9),
    "max_attempts": _whole(1, MAX_ATTEMPTS),
    "timeout_s": _seconds(MAX_TIMEOUT_S, may_be_zero=False),
    "delay_s": _seconds(MAX_DELAY_S, may_be_zero=True),
    "run_at": _read_moment,
    "expires_at": _read_moment,
    "unique_key": _read_key,
    "tags": _read_tags,
}
