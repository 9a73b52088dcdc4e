"""What taskhub says to Redis: push ids, take them, wait for the bell, and the reads of maintenance.

Invariants: holds hints only, so any call may fail, be repeated or be lost without losing a job. Every
failure is a QueueUnavailableError. One script touches one queue.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, cast

import redis

from taskhub.domain.job import PRIORITIES
from taskhub.queue import client, keys
from taskhub.queue.scripts import script


class Broker:
    """One process's access to Redis; make it after fork."""

    def __init__(self, url: str, *, timeout_s: float, connection: redis.Redis | None = None) -> None:
        self._redis = connection if connection is not None else client.connect(url, timeout_s=timeout_s)
        self._timeout_s = timeout_s

    def push(self, queue: str, priority: int, ids: list[str]) -> None:
        """Push fresh ids, oldest first, and ring."""
        if ids:
            self._run("push", [keys.ready(queue, priority), keys.bell(queue)], cast("list[Any]", ids))

    def push_again(self, queue: str, priority: int, due: list[tuple[float, str]]) -> int:
        """Push ids that are due again with the seconds of when; returns how many were not there yet."""
        if not due:
            return 0
        flat = [item for score, job_id in due for item in (f"{score:.3f}", job_id)]
        return int(self._run("push_again", [keys.again(queue, priority), keys.bell(queue)], flat))

    def take(self, queue: str, settled: str, target: str, want: int, children: int) -> list[str]:
        """Forget the in-flight list `settled`, then move up to `want` ids to the list `target`.

        After a failure of unknown outcome, call again with a `settled` that names no list: what the
        lost call moved is then returned as it is.
        """
        found = self._run("take", [settled, target, keys.bell(queue), *keys.waiting(queue)], [want, max(1, children)])
        return [item.decode("utf-8", "replace") for item in found]

    def wait(self, queues: list[str], timeout_s: float) -> bool:
        """Block until one of the queues' bells rings, at most `timeout_s`; True if one rang."""
        with self._asking("wait"):
            return self._redis.blpop([keys.bell(queue) for queue in queues], timeout=timeout_s) is not None

    def require_room(self, queue: str) -> None:
        """Raise QueueUnavailableError if the server takes nothing in (full, demoted), though it may still give."""
        with self._asking("require_room"):
            self._redis.setrange(keys.epoch(queue), 0, "")  # a write that changes nothing

    def tail(self, queue: str, priority: int) -> str | None:
        """The id that is taken next of the fresh ones; None: the list is empty."""
        with self._asking("tail"):
            found = cast("bytes | None", self._redis.lindex(keys.ready(queue, priority), -1))
        return None if found is None else found.decode("utf-8", "replace")

    def again_size(self, queue: str, priority: int) -> int:
        """How many ids are due again in Redis."""
        with self._asking("again_size"):
            return self._redis.zcard(keys.again(queue, priority))

    def epoch(self, queue: str) -> int | None:
        """The queue's epoch as Redis knows it; None: it does not."""
        with self._asking("epoch"):
            found = cast("bytes | None", self._redis.get(keys.epoch(queue)))
        return int(found) if found is not None and found.isdigit() else None

    def set_epoch(self, queue: str, epoch: int) -> None:
        with self._asking("set_epoch"):
            self._redis.set(keys.epoch(queue), epoch)

    def depths(self, queues: list[str]) -> dict[str, int]:
        """How many ids wait in each queue."""
        with self._asking("depths"):
            pipeline = self._redis.pipeline(transaction=False)
            for queue in queues:
                for priority in PRIORITIES:
                    pipeline.llen(keys.ready(queue, priority))
                    pipeline.zcard(keys.again(queue, priority))
            counts = pipeline.execute()
        width = 2 * len(PRIORITIES)
        return {queue: sum(counts[n * width : (n + 1) * width]) for n, queue in enumerate(queues)}

    def inflight(self, key: str) -> list[str]:
        """The ids in an in-flight list."""
        with self._asking("inflight"):
            found = cast("list[bytes]", self._redis.lrange(key, 0, -1))
        return [item.decode("utf-8", "replace") for item in found]

    def forget(self, *names: str) -> None:
        """Delete in-flight lists."""
        if names:
            with self._asking("forget"):
                self._redis.delete(*names)

    def ping(self) -> None:
        with self._asking("ping"):
            self._redis.ping()

    def close(self) -> None:
        """Leave the connections; the next call makes another."""
        self._redis.connection_pool.disconnect()

    def _asking(self, command: str) -> AbstractContextManager[None]:
        return client.translated(self._redis, command)

    def _run(self, name: str, names: list[str], arguments: list[Any]) -> Any:
        with self._asking(name):
            return script(name)(self._redis, names, arguments)
