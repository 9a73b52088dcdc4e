"""Every Redis key of taskhub. Each bears its queue's hash tag, so a script touches one cluster slot.

taskhub:{<queue>}:ready:<priority>     list      fresh ids, pushed at the head, taken at the tail
taskhub:{<queue>}:again:<priority>     sorted set  ids due again (retries, releases, repairs), by due time
taskhub:{<queue>}:bell                 list      at most 16 tokens that idle children block on
taskhub:{<queue>}:epoch                string    rises each second; missing or lower: Redis forgot
taskhub:{<queue>}:inflight:<worker>:<slot>:<generation>:<0|1>   list   taken, not yet claimed, or claimed last
"""

from __future__ import annotations

from taskhub.domain.job import PRIORITIES


def ready(queue: str, priority: int) -> str:
    return f"taskhub:{{{queue}}}:ready:{priority}"


def again(queue: str, priority: int) -> str:
    return f"taskhub:{{{queue}}}:again:{priority}"


def bell(queue: str) -> str:
    return f"taskhub:{{{queue}}}:bell"


def queue_of_bell(key: str) -> str:
    """
    >>> queue_of_bell(bell("default"))
    'default'
    """
    return key.removeprefix("taskhub:{").removesuffix("}:bell")


def epoch(queue: str) -> str:
    return f"taskhub:{{{queue}}}:epoch"


def inflight(queue: str, worker: str, slot: int, generation: int, bank: int) -> str:
    return f"taskhub:{{{queue}}}:inflight:{worker}:{slot}:{generation}:{bank}"


def waiting(queue: str) -> list[str]:
    """Every list and set that a child takes from, highest priority first: again, ready, again, ready, ..."""
    return [key(queue, priority) for priority in PRIORITIES for key in (again, ready)]
