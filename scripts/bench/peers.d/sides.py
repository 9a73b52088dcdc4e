"""The sides of the comparison: which adapter, which of its variants, which servers it needs."""

from __future__ import annotations

from typing import NamedTuple

OURS = "taskhub"


class Peer(NamedTuple):
    """One row of the table; `name` is the package's and, in brackets, the variant."""

    package: str
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.package} ({self.variant})" if self.variant else self.package

    @property
    def module(self) -> str:
        return f"peer_{self.package}"

    @property
    def needs_database(self) -> bool:
        return self.package in ("pgqueuer", "procrastinate")


SIDES = (
    Peer(OURS),
    Peer("dramatiq"),
    Peer("dramatiq", "1 thread"),
    Peer("huey"),
    Peer("rq"),
    Peer("rq", "SimpleWorker"),
    Peer("celery"),
    Peer("celery", "acks_late"),
    Peer("taskiq"),
    Peer("taskiq", "lists"),
    Peer("pgqueuer"),
    Peer("pgqueuer", "batch 100"),
    Peer("procrastinate"),
    Peer("procrastinate", "concurrency 30"),
)


def chosen(names: list[str]) -> list[Peer]:
    """The rows of these packages, all without any; ours is always there."""
    unknown = set(names) - {side.package for side in SIDES}
    if unknown:
        raise SystemExit(
            f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(dict.fromkeys(s[0] for s in SIDES))}"
        )
    return [side for side in SIDES if not names or side.package in (OURS, *names)]
