"""Queues: which there are, how much waits in them, and which of them were in use lately."""

from __future__ import annotations

from typing import NamedTuple

from taskhub.store.connection import Store
from taskhub.store.statements import number_array, text_array


class DeadLetters(NamedTuple):
    """How many jobs of a queue and a type have failed for good."""

    queue: str
    type: str
    jobs: int


def queue_names(store: Store, *, timeout_s: float | None = None) -> list[str]:
    """The queues that are in use, or were lately."""
    return [name for (name,) in store.run("queue_names", timeout_s=timeout_s)]


def served_queues(store: Store, active_s: float, others: int) -> set[str]:
    """The queues that a worker which serves all listens to: those in use, and some that were lately."""
    return {name for (name,) in store.run("served_queues", active_s, others)}


def ensure_queue(store: Store, queue: str, priority: int, *, timeout_s: float | None = None) -> None:
    """Make a queue and priority known, before the first job is inserted there."""
    store.run("ensure_queue", queue, priority, timeout_s=timeout_s)


def raise_epochs(store: Store, queues: list[str], epochs: list[int], in_use: list[str]) -> None:
    """Remember the epochs that Redis has just been given, and which of these queues are in use now."""
    store.run("raise_epochs", text_array(queues), number_array(epochs), text_array(in_use))


def delete_queues(store: Store, idle_s: float, amount: int) -> list[str]:
    """Delete queues that have lain idle for long; returns which."""
    return [name for (name,) in store.run("delete_queues", idle_s, amount)]


def queue_depth(store: Store, bound: int, places: int, stretch: int, *, timeout_s: float) -> dict[str, int]:
    """Jobs that could run now, by queue, counted to a bound."""
    return dict(store.run("queue_depth", bound, places, stretch, timeout_s=timeout_s))


def oldest_waiting(store: Store, queue: str, stretch: int, *, timeout_s: float) -> float | None:
    """For how many seconds the oldest job that could run now has waited; None: none waits."""
    [(age_s,)] = store.run("oldest_waiting", queue, stretch, timeout_s=timeout_s)
    return None if age_s is None else float(age_s)


def count_dead_letters(store: Store, bound: int, *, timeout_s: float) -> list[DeadLetters]:
    """How many dead letters there are, counted to a bound."""
    return [DeadLetters._make(row) for row in store.run("count_dead_letters", bound, timeout_s=timeout_s)]
