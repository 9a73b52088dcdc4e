"""Tell Redis again of jobs that wait: what was released, rescued, or left in an in-flight list."""

from __future__ import annotations

from taskhub import ids
from taskhub.broker.broker import Broker
from taskhub.store.connection import Store
from taskhub.store.jobs import filter_queued


def requeue(store: Store, broker: Broker, job_ids: list[str]) -> int:
    """Push those of some ids that wait to be run; returns how many wait."""
    by_place: dict[tuple[str, int], list[tuple[float, str]]] = {}
    for job_id, queue, priority, due in filter_queued(store, [i for i in job_ids if ids.is_id(i)]):
        by_place.setdefault((queue, priority), []).append((due, job_id))
    for (queue, priority), due_ids in by_place.items():
        broker.push_again(queue, priority, due_ids)
    return sum(map(len, by_place.values()))
