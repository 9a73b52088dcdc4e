"""What a program asks for is the same for each way in: the Producer's encoder and the Client's give one JSON."""

from __future__ import annotations

import enum
import json
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from taskhub.domain.asked import plain_options, plain_payload, typed_payload
from taskhub.domain.errors import InvalidPayloadError, InvalidRequestError, MalformedJsonError
from taskhub.domain.strict_json import encode_foreign
from tests.harness.odd_values import Pair

_MOMENT = datetime(2030, 1, 31, 12, 0, 0, 500, timezone(timedelta(hours=1)))


class _Colour(enum.Enum):
    RED = "red"


class _Level(enum.IntEnum):
    LOW = 1


class _Moment(datetime):
    """As libraries that set the time in tests make them."""


@dataclass
class _Line:
    colour: _Colour
    price: Decimal
    parts: list[Any] = field(default_factory=list)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (_MOMENT, "2030-01-31T12:00:00.000500+01:00"),
        (_Moment(2030, 1, 31, tzinfo=timezone.utc), "2030-01-31T00:00:00+00:00"),
        (date(2030, 1, 31), "2030-01-31"),
        (time(1, 2), "01:02:00"),
        (timedelta(minutes=1, microseconds=5), 60.000005),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Decimal("10.50"), "10.50"),
        (_Colour.RED, "red"),
        (_Level.LOW, 1),
        (_Line(_Colour.RED, Decimal("1.10"), [_Line(_Colour.RED, Decimal(2))]), {
            "colour": "red", "price": "1.10", "parts": [{"colour": "red", "price": "2", "parts": []}],
        }),
        ((1, [None, 2.5, "\N{SNOWMAN}"]), [1, [None, 2.5, "\N{SNOWMAN}"]]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_of_python_is_the_same_through_each_way_in(value: Any, kept: Any) -> None:
    payload = {"value": value}
    assert json.loads(encode_foreign(payload)) == {"value": kept}
    assert plain_payload(payload) == {"value": kept}
    assert plain_options({"tags": value}) == {"tags": kept}


@pytest.mark.parametrize(
    "value",
    [object(), b"x", {1}, float("nan"), Decimal("NaN"), Decimal("-Infinity"), {1: "a"}, Pair(1, 2), lambda: 1],
    ids=lambda value: type(value).__name__,
)
def test_what_json_has_no_form_for_is_refused_by_each_way_in(value: Any) -> None:
    with pytest.raises(MalformedJsonError):
        encode_foreign({"value": value})
    with pytest.raises(MalformedJsonError):
        plain_payload({"value": value})
    with pytest.raises(InvalidRequestError) as refusal:
        plain_options({"tags": value})
    assert [problem.path for problem in refusal.value.problems] == ["tags"]


def test_a_payload_that_names_another_type_is_refused() -> None:
    assert (
        typed_payload("demo", {"type": "demo", "a": 1}) == {"type": "demo", "a": 1} == typed_payload("demo", {"a": 1})
    )
    with pytest.raises(InvalidPayloadError) as refusal:
        typed_payload("demo", {"type": "fail"})
    assert [(problem.path, problem.message) for problem in refusal.value.problems] == [("payload.type", "must be demo")]
