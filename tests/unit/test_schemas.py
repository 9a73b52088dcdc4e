"""A schema of any of the three kinds guards the way in and the handler alike, and names what is wrong."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import marshmallow
import pydantic
import pytest
from marshmallow import fields

from taskhub.domain.asked import plain_payload
from taskhub.domain.errors import InvalidPayloadError
from taskhub.domain.job_request import JobRequest
from taskhub.handlers.job import Job
from taskhub.handlers.raises import InvalidPayload
from taskhub.handlers.registry import Handler, HandlerError, Registry
from taskhub.handlers.schemas import PayloadSchema, schema_of
from taskhub.handlers.schemas.payload_schema import PayloadMismatch, flat
from taskhub.services.submission.validation import Validator


class OfMarshmallow(marshmallow.Schema):
    image = fields.String(required=True)
    width = fields.Integer(required=True)

    @marshmallow.post_load
    def make(self, data: Any, **_: Any) -> Any:
        return OfDataclass(**data)


class OfPydantic(pydantic.BaseModel):
    image: str
    width: int


@dataclass
class OfDataclass:
    image: str
    width: int


KINDS = [OfMarshmallow, OfMarshmallow(), OfPydantic, OfDataclass]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: getattr(kind, "__name__", "instance"))


def known(kind: Any, function: Callable[..., Any] = lambda job: job.data) -> Handler:
    registry = Registry()
    registry.add(Handler("t", function, schema=kind))
    found = registry.get("t")
    assert found is not None
    return found


def job_of(payload: dict[str, Any]) -> Job:
    return Job(
        id="1",
        type="t",
        queue="q",
        payload=payload,
        attempt=1,
        max_attempts=1,
        lease="",
        execution=None,  # type: ignore[arg-type]
    )


@each_kind
def test_a_handler_gets_the_loaded_object_and_the_payload_as_it_was(kind: Any) -> None:
    job = job_of({"image": "a.png", "width": 3})
    loaded = known(kind).run(job)
    assert (loaded.image, loaded.width) == ("a.png", 3)
    assert job.payload == {"image": "a.png", "width": 3}


@each_kind
def test_a_payload_that_does_not_fit_fails_before_the_handler_and_its_fields_are_named(kind: Any) -> None:
    ran = []
    with pytest.raises(InvalidPayload, match=r"^the payload does not fit type t: ") as failure:
        known(kind, ran.append).run(job_of({"width": "wide"}))
    assert "payload.image: " in str(failure.value)
    assert "payload.width: " in str(failure.value)
    assert ran == []


@each_kind
def test_the_same_payload_is_refused_on_its_way_in(kind: Any) -> None:
    registry = Registry()
    registry.add(known(kind))
    with pytest.raises(InvalidPayloadError) as refusal:
        Validator(registry, max_attempts=1, max_payload_bytes=1000).validate(
            JobRequest({"type": "t", "width": []}, "t")
        )
    assert {problem.path for problem in refusal.value.problems} == {"payload.image", "payload.width"}


def test_a_handler_without_a_schema_is_called_with_nothing_between() -> None:
    def function(job: Any) -> Any:
        return job.data

    assert known(None, function).run is function
    assert function(job_of({"a": 1})) == {"a": 1}


class Colour(enum.Enum):
    RED = "red"


def _even(number: int) -> None:
    if number % 2:
        raise ValueError("must be even")


@dataclass
class Part:
    price: Decimal
    colour: Colour = Colour.RED


@dataclass(kw_only=True)
class Order:
    id: UUID
    at: datetime
    parts: list[Part]
    within: timedelta | None = None
    kind: Literal["new", "old"] = "new"
    count: Annotated[int, _even] = 2
    by_name: dict[str, Part] = field(default_factory=dict)
    place: tuple[float, float] = (0.0, 0.0)
    rest: Any = None
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.at.year < 2000:
            raise ValueError("is too old")


ORDER = Order(
    id=UUID(int=1),
    at=datetime(2030, 1, 1, tzinfo=timezone.utc),
    parts=[Part(Decimal("1.50"))],
    within=timedelta(minutes=1),
    by_name={"a": Part(Decimal(2))},
    place=(1, 2.5),
    rest=[{"x": None}],
)


def _payload(**changes: Any) -> dict[str, Any]:
    given = {name: value for name, value in vars(ORDER).items() if name != "made"}
    return {name: value for name, value in plain_payload({**given, **changes}).items() if value is not ...}


def _schema(kind: Any) -> PayloadSchema:
    found = schema_of(kind)
    assert found is not None
    return found


def test_what_a_dataclass_was_sent_as_is_read_back_as_it_was() -> None:
    assert _schema(Order).load(_payload()) == ORDER
    assert _schema(Order).load(_payload(at="2030-01-01T00:00:00Z")) == ORDER


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"id": "1"}, "p.id", "must be a UUID"),
        ({"id": 1}, "p.id", "must be a UUID"),
        ({"at": "soon"}, "p.at", "must be a time like 2030-01-31T12:00:00Z"),
        ({"at": "1999-01-01T00:00:00Z"}, "p", "is too old"),
        ({"parts": None}, "p.parts", "must be a list"),
        ({"parts": [{"price": 1}, {"price": "x"}]}, "p.parts.1.price", "must be a decimal number"),
        ({"parts": [{"price": 1, "size": 2}]}, "p.parts.0.size", "is not a field"),
        ({"parts": [7]}, "p.parts.0", "must be an object"),
        ({"by_name": {"b": {}}}, "p.by_name.b.price", "is required"),
        ({"within": "1"}, "p.within", "must be a number of seconds or must be null"),
        ({"within": 1e300}, "p.within", "must be a number of seconds or must be null"),
        ({"kind": "older"}, "p.kind", "must be one of 'new', 'old'"),
        ({"count": 3}, "p.count", "must be even"),
        ({"count": True}, "p.count", "must be a whole number"),
        ({"count": 2.0}, "p.count", "must be a whole number"),
        ({"place": [1]}, "p.place", "must be a list of 2"),
        ({"place": [1, "2"]}, "p.place.1", "must be a number"),
        ({"made": 1}, "p.made", "is not a field"),
    ],
)
def test_each_field_that_is_wrong_is_named(change: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(PayloadMismatch) as mismatch:
        _schema(Order).load(_payload(**change))
    assert [(each.path, each.message) for each in flat(mismatch.value.messages, "p")] == [(path, message)]


@dataclass
class Unreadable:
    stream: Callable[[], None]


@dataclass
class Unknown:
    thing: Nowhere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("kind", [Unreadable, Unknown, int, "schema", [OfDataclass]], ids=repr)
def test_a_schema_that_cannot_work_is_refused_with_its_declaration(kind: Any) -> None:
    with pytest.raises(HandlerError, match=r"handler 't': schema .*(cannot be read|Nowhere|is not a marshmallow)"):
        known(kind)


def test_a_field_called_problems_makes_a_class_no_schema_of_ours() -> None:
    @dataclass
    class Report:
        problems: int = 0

    assert _schema(Report).load({"problems": 2}) == Report(2)


def test_the_built_in_types_say_what_they_take() -> None:
    from taskhub.handlers.builtin import FailPayload, SleepPayload

    assert (
        _schema(FailPayload).problems({"times": 1, "message": "no"})
        == {}
        == _schema(SleepPayload).problems({"seconds": 1})
    )
    assert _schema(FailPayload).problems({"times": 1_001, "message": "x" * 1_001}).keys() == {"times", "message"}
    assert _schema(SleepPayload).problems({"seconds": -1}).keys() == {"seconds"}
