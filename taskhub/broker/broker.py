"""What taskhub says to Redis: push ids, take them, wait for the bell, and the reads of maintenance.

Invariants: holds hints only, so any call may fail, be repeated or be lost without losing a job. Every
failure is a BrokerUnavailableError. One script touches one queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import redis
from redis.exceptions import NoScriptError

from taskhub.broker import key_names, redis_client
from taskhub.broker.pusher import Pusher
from taskhub.broker.scripts import script
from taskhub.domain.job import PRIORITIES

Place = tuple[str, int]  # a queue and a priority
T = TypeVar("T")

_AT_ONCE = 1_000  # commands in one pipeline


class Broker:
    """One process's access to Redis; make it after fork."""

    def __init__(self, url: str, *, timeout_s: float, connection: redis.Redis | None = None) -> None:
        self.client = self._redis = connection or redis_client.connect(url, timeout_s=timeout_s)
        self._timeout_s = timeout_s

    def pusher(self) -> Pusher:
        """For pushes that are not waited for."""
        return Pusher(self._redis, self._timeout_s)

    def push(self, queue: str, priority: int, ids: list[str]) -> None:
        """Push fresh ids, oldest first, and ring."""
        if ids:
            self._run("push", [key_names.ready(queue, priority), key_names.bell(queue)], cast("list[Any]", ids))

    def push_again(self, queue: str, priority: int, due: list[tuple[float, str]]) -> int:
        """Push ids that are due again with the seconds of when; returns how many were not there yet."""
        if not due:
            return 0
        flat = [item for score, job_id in due for item in (f"{score:.3f}", job_id)]
        return int(self._run("push_again", [key_names.again(queue, priority), key_names.bell(queue)], flat))

    def take(self, queue: str, claimed: str, target: str, want: int, children: int) -> list[str]:
        """Forget the in-flight list `claimed` (the slot's row holds it by now), then move up to `want` ids to `target`.

        After a failure of unknown outcome, call again with a `claimed` that names no list: what the
        lost call moved is then returned as it is.
        """
        found = self._run(
            "take", [claimed, target, key_names.bell(queue), *key_names.waiting(queue)], [want, max(1, children)]
        )
        return [item.decode("utf-8", "replace") for item in found]

    def wait(self, queues: list[str], timeout_s: float) -> str | None:
        """Block until one of the queues' bells rings, at most `timeout_s`; returns whose it was."""
        with self._asking("wait"):
            rung = cast(
                "tuple[bytes, bytes] | None",
                self._redis.blpop([key_names.bell(queue) for queue in queues], timeout=timeout_s),
            )
        return key_names.queue_of_bell(rung[0].decode("utf-8", "replace")) if rung is not None else None

    def require_room(self, queue: str) -> None:
        """Raise BrokerUnavailableError if the server takes nothing in (full, demoted), though it may still give."""
        with self._asking("require_room"):
            self._redis.setrange(key_names.epoch(queue), 0, "")  # a write that changes nothing

    def push_again_all(self, due: dict[Place, list[tuple[float, str]]]) -> dict[Place, int]:
        """`push_again` for many places in few round trips; one with damaged keys is left out."""
        calls = []
        for (queue, priority), pairs in due.items():
            flat = [item for score, job_id in pairs for item in (f"{score:.3f}", job_id)]
            calls.append(([key_names.again(queue, priority), key_names.bell(queue)], flat))
        return _good(due, self._run_all("push_again", calls))

    def tails(self, places: list[Place]) -> dict[Place, str | None]:
        """The id that is taken next of the fresh ones, of each place; None: its list is empty."""
        found = self._pipelined("lindex", [(key_names.ready(queue, priority), -1) for queue, priority in places])
        good = _good(places, found)
        return {place: None if tail is None else tail.decode("utf-8", "replace") for place, tail in good.items()}

    def again_sizes(self, places: list[Place]) -> dict[Place, int]:
        """How many ids are due again in Redis, of each place."""
        return _good(places, self._pipelined("zcard", [(key_names.again(*place),) for place in places]))

    def epochs(self, queues: list[str]) -> dict[str, int | None]:
        """The queues' epochs; None: Redis knows none."""
        found = _good(queues, self._pipelined("get", [(key_names.epoch(queue),) for queue in queues]))
        return {queue: int(epoch) if epoch is not None and epoch.isdigit() else None for queue, epoch in found.items()}

    def set_epochs(self, epochs: dict[str, int]) -> None:
        self._pipelined("set", [(key_names.epoch(queue), epoch) for queue, epoch in epochs.items()])

    def delete_queues(self, queues: list[str]) -> None:
        """Delete what is kept of queues in which nothing waits."""
        self._pipelined(
            "delete", [(key,) for queue in queues for key in (key_names.epoch(queue), key_names.bell(queue))]
        )

    def depths(self, queues: list[str]) -> dict[str, int]:
        """How many ids wait in each queue."""
        with self._asking("depths"):
            pipeline = self._redis.pipeline(transaction=False)
            for queue in queues:
                for priority in PRIORITIES:
                    pipeline.llen(key_names.ready(queue, priority))
                    pipeline.zcard(key_names.again(queue, priority))
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

    def version(self) -> str:
        """What the server calls its version; what replaces Redis says which one it is like."""
        with self._asking("info"):
            return str(self._redis.info("server").get("redis_version", ""))

    def eviction_policy(self) -> str:
        """What the server does when it is full; anything but `noeviction` may forget ids."""
        with self._asking("info"):
            return str(self._redis.info("memory").get("maxmemory_policy", "noeviction"))

    def close(self) -> None:
        """Leave the connections; the next call makes another."""
        self._redis.connection_pool.disconnect()

    def _asking(self, command: str) -> AbstractContextManager[None]:
        return redis_client.translated(self._redis, command)

    def _run(self, name: str, names: list[str], arguments: list[Any]) -> Any:
        with self._asking(name):
            return script(name)(self._redis, names, arguments)

    def _run_all(self, name: str, calls: list[tuple[list[str], list[Any]]]) -> list[Any]:
        """Run a script many times in few round trips; where the server does not know it yet, one by one."""
        chosen = script(name)
        sent = [(chosen.sha, len(names), *names, *arguments) for names, arguments in calls]
        answers = self._pipelined("evalsha", sent)
        for number, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[number] = self._run(name, *calls[number])
        return answers

    def _pipelined(self, command: str, calls: list[tuple[Any, ...]]) -> list[Any]:
        """One command many times, in few round trips. No transaction: each is for a queue of its own.

        What the server refuses is in its place among the answers, unless it refuses all: one queue's damaged
        key is that queue's trouble.
        """
        answers: list[Any] = []
        with self._asking(command):
            for first in range(0, len(calls), _AT_ONCE):
                pipeline = self._redis.pipeline(transaction=False)
                for call in calls[first : first + _AT_ONCE]:
                    getattr(pipeline, command)(*call)
                answers += pipeline.execute(raise_on_error=False)
            refused = [a for a in answers if isinstance(a, redis.RedisError) and not isinstance(a, NoScriptError)]
            if refused and len(refused) == len(answers):
                raise refused[0]
        return answers


def _good(names: Iterable[T], answers: list[Any]) -> dict[T, Any]:
    """The answers by name, less those that are refusals."""
    pairs = zip(names, answers, strict=True)
    return {name: answer for name, answer in pairs if not isinstance(answer, redis.RedisError)}
