"""Submissions as mypy sees them: each wrong one is ignored by its code, and an ignore of what is right is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from marshmallow import Schema, fields
from pydantic import BaseModel

from taskhub import Job, handler


@handler("typed.signature")
def by_signature(job: Job, image: str, width: int = 80) -> str:
    return f"{image} {width} {job.attempt}"


@dataclass
class Resize:
    image: str
    width: int = 80


@handler("typed.dataclass", schema=Resize)
def by_dataclass(job: Job) -> Any:
    return job.data


class Model(BaseModel):
    image: str
    width: int = 80


@handler("typed.pydantic", schema=Model)
def by_pydantic(job: Job) -> Any:
    return job.data


class Fields(Schema):
    image = fields.String(required=True)


@handler("typed.marshmallow", schema=Fields)
def by_marshmallow(job: Job) -> Any:
    return job.data


@handler("typed.any", queue="slow")
def by_nothing(job: Job) -> int:
    return job.attempt


def right() -> list[str]:
    when = datetime(2030, 1, 1, tzinfo=timezone.utc)
    return [
        by_signature.submit(image="a", width=3),
        by_signature.submit("a"),
        by_dataclass.submit_in(5, image="a"),
        by_pydantic.submit_at(when, image="a", width=3),
        by_marshmallow.submit(image="a"),
        by_nothing.submit(whatever=[1]),
    ]


def wrong() -> None:
    by_signature.submit()  # type: ignore[call-arg]
    by_signature.submit(image=5)  # type: ignore[arg-type]
    by_signature.submit(image="a", size=3)  # type: ignore[call-arg]
    by_dataclass.submit(width=3)  # type: ignore[call-arg]
    by_pydantic.submit_in(5, image=b"a")  # type: ignore[arg-type]
    by_nothing.submit_at("soon")  # type: ignore[arg-type]
