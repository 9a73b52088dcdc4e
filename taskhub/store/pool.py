"""A bounded number of connections for threads that come and go; each is used by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskhub.domain.errors import StoreUnavailableError
from taskhub.store.connection import Connection, Row


class Pool:
    """At most `size` connections, made when first needed; the most recently used one goes first."""

    def __init__(self, make: Callable[[], Connection], size: int, wait_s: float) -> None:
        self._make = make
        self._wait_s = wait_s
        self._free = threading.Semaphore(size)
        self._idle: list[Connection] = []  # append and pop are atomic

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One connection for this thread. Raises StoreUnavailableError if all stay in use."""
        if not self._free.acquire(timeout=self._wait_s):
            raise StoreUnavailableError("every connection to PostgreSQL is in use")
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._make()
            try:
                yield connection
            finally:
                self._idle.append(connection)
        finally:
            self._free.release()

    def read(self, name: str, *arguments: object, timeout_s: float | None = None) -> list[Row]:
        """Run a statement that changes nothing; a connection that had died since its last use is replaced."""
        with self.connection() as connection:
            was_open = connection.is_open
            try:
                return connection.run(name, *arguments, timeout_s=timeout_s)
            except StoreUnavailableError:
                if not was_open:
                    raise
                return connection.run(name, *arguments, timeout_s=timeout_s)

    def close(self) -> None:
        """Leave the idle connections; the pool stays usable."""
        while self._idle:
            self._idle.pop().close()
