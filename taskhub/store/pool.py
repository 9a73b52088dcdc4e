"""A bounded number of connections for threads that come and go; each is used by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskhub import clock
from taskhub.domain.errors import StoreUnavailableError
from taskhub.store.connection import Connection, Row, Store


class Pool:
    """At most `size` connections, made when first needed; the most recently used one goes first.

    idle_s: one that was not needed for so long is left; None: all stay. reads: for statements that change nothing.
    """

    def __init__(
        self, make: Callable[[], Connection], size: int, wait_s: float, *, idle_s: float | None = None
    ) -> None:
        self.wait_s = wait_s
        self._make = make
        self._idle_s = idle_s
        self._free = threading.Semaphore(size)
        self._idle: list[tuple[Connection, float]] = []  # append and pop are atomic
        self.reads: Store = _Reads(self)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One connection for this thread. Raises StoreUnavailableError if all stay in use."""
        if not self._free.acquire(timeout=self.wait_s):
            raise StoreUnavailableError("every connection to PostgreSQL is in use")
        try:
            try:
                connection, _ = self._idle.pop()
            except IndexError:
                connection = self._make()
            try:
                yield connection
            finally:
                self._idle.append((connection, clock.monotonic_s()))
                self._leave_the_longest_idle()
        finally:
            self._free.release()

    def close(self) -> None:
        """Leave the idle connections; the pool stays usable."""
        while self._idle:
            self._idle.pop()[0].close()

    def _leave_the_longest_idle(self) -> None:
        try:
            connection, used_s = self._idle.pop(0)
        except IndexError:
            return
        if self._idle_s is not None and clock.monotonic_s() - used_s > self._idle_s:
            connection.close()
        else:
            self._idle.insert(0, (connection, used_s))


class _Reads:
    """Runs what changes nothing; a connection that had died since its last use is replaced."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def run(self, name: str, *arguments: object, timeout_s: float | None = None) -> list[Row]:
        with self._pool.connection() as connection:
            was_open = connection.is_open
            try:
                return connection.run(name, *arguments, timeout_s=timeout_s)
            except StoreUnavailableError:
                if not was_open:
                    raise
                return connection.run(name, *arguments, timeout_s=timeout_s)
