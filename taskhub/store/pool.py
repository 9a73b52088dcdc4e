"""A bounded number of connections for threads that come and go; each is lent to one thread at a time.

Invariant: an interrupted thread keeps none. Who borrows is written down before anything else, and `__exit__` asks
nobody but that note.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from taskhub import clock
from taskhub.domain.errors import StoreUnavailableError
from taskhub.store.connection import Connection, Row, Store

_LOOK_AGAIN_S = 0.05


class Closable(Protocol):
    """Something over a connection; after `close` the next use reconnects."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Pool(Generic[T]):
    """`size` of what `make` makes, the first free one goes first.

    kept: those beyond so many are closed when they are given back; None: none is. idle_s: one that was not
    needed for so long is closed. refusal: what is said when all stay in use.
    """

    def __init__(
        self,
        make: Callable[[], T],
        size: int,
        *,
        kept: int | None = None,
        idle_s: float | None = None,
        refusal: str = "every connection to PostgreSQL is in use",
    ) -> None:
        self._all = [make() for _ in range(size)]
        self._kept = size if kept is None else kept
        self._idle_s = idle_s
        self._refusal = refusal
        self._borrowers: list[Loan[T] | None] = [None] * size
        self._used_at_s = [float("-inf")] * size
        self._is_left = [False] * size  # closed while it was lent
        self._changed = threading.Condition(threading.Lock())

    def lend(self, within_s: float) -> Loan[T]:
        """One of them, for a `with` block that raises StoreUnavailableError if all stay in use for so long."""
        return Loan(self, within_s)

    def close(self) -> None:
        """Leave the connections, those in use when they are given back; the pool stays usable."""
        with self._changed:
            for number, borrower in enumerate(self._borrowers):
                self._is_left[number] = borrower is not None
                if borrower is None:
                    self._all[number].close()

    def borrow(self, loan: Loan[T], within_s: float) -> T:
        with self._changed:
            if None not in self._borrowers:
                self._await_one(clock.monotonic_s() + within_s)
            number = self._borrowers.index(None)
            self._borrowers[number] = loan
        return self._all[number]

    def give_back(self, loan: Loan[T]) -> None:
        if loan not in self._borrowers:
            return
        number = self._borrowers.index(loan)
        if number >= self._kept or self._is_left[number]:
            self._all[number].close()
            self._is_left[number] = False
        if self._idle_s is not None:
            self._used_at_s[number] = clock.monotonic_s()
        self._borrowers[number] = None
        with self._changed:
            if self._idle_s is not None:
                self._leave_the_idle(self._idle_s)
            self._changed.notify()

    def _await_one(self, until_s: float) -> None:
        while None not in self._borrowers:
            left_s = until_s - clock.monotonic_s()
            if left_s <= 0:
                raise StoreUnavailableError(self._refusal)
            self._changed.wait(min(left_s, _LOOK_AGAIN_S))

    def _leave_the_idle(self, idle_s: float) -> None:
        since_s = clock.monotonic_s() - idle_s
        for number, borrower in enumerate(self._borrowers):
            if borrower is None and self._used_at_s[number] < since_s:
                self._all[number].close()


class Loan(Generic[T]):
    """One of a pool's while it is lent."""

    def __init__(self, lender: Pool[T], within_s: float) -> None:
        self._lender = lender
        self._within_s = within_s

    def __enter__(self) -> T:
        try:
            return self._lender.borrow(self, self._within_s)
        except BaseException:
            self._lender.give_back(self)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lender.give_back(self)


class ConnectionPool:
    """Connections for statements of any kind. reads: for those that change nothing. wait_s: how long one is awaited."""

    def __init__(
        self, make: Callable[[], Connection], size: int, wait_s: float, *, idle_s: float | None = None
    ) -> None:
        self.wait_s = wait_s
        self._pool = Pool(make, size, idle_s=idle_s)
        self.reads: Store = _Reads(self)

    def connection(self) -> Loan[Connection]:
        """One connection for this thread. Its `with` block raises StoreUnavailableError if all stay in use."""
        return self._pool.lend(self.wait_s)

    def close(self) -> None:
        """Leave the connections, those in use when they are given back; the pool stays usable."""
        self._pool.close()


class _Reads:
    """Runs what changes nothing; a connection that had died since its last use is replaced."""

    def __init__(self, pool: ConnectionPool) -> None:
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
