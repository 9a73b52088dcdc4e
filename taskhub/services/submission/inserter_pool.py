"""Inserters lent to threads, a bounded number of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from taskhub import clock
from taskhub.domain.errors import StoreUnavailableError
from taskhub.services.submission.inserter import Inserter

_LOOK_AGAIN_S = 0.05


class InserterPool:
    """A bounded number of inserters, each lent to one thread at a time.

    Connections beyond the first `kept` are left when they are given back. An interrupted thread keeps none: who
    borrows is written down before anything else, and `__exit__` asks nobody but that note.
    """

    def __init__(self, make: Callable[[], Inserter], size: int, *, kept: int = 0) -> None:
        self._all = [make() for _ in range(size)]
        self._kept = kept
        self._borrowers: list[Loan | None] = [None] * size
        self._changed = threading.Condition(threading.Lock())
        self._is_left = [False] * size  # closed while it was lent

    def lend(self, within_s: float) -> Loan:
        """One inserter, for a `with` block that raises StoreUnavailableError if all stay in use for so long."""
        return Loan(self, within_s)

    def close(self) -> None:
        """Leave the connections, those in use when they are given back."""
        with self._changed:
            for number, borrower in enumerate(self._borrowers):
                self._is_left[number] = borrower is not None
                if borrower is None:
                    self._all[number].close()

    def borrow(self, loan: Loan, within_s: float) -> Inserter:
        until_s = clock.monotonic_s() + within_s
        with self._changed:
            while None not in self._borrowers:
                left_s = until_s - clock.monotonic_s()
                if left_s <= 0:
                    raise StoreUnavailableError("as many jobs wait for other transactions as may")
                self._changed.wait(min(left_s, _LOOK_AGAIN_S))
            number = self._borrowers.index(None)
            self._borrowers[number] = loan
        return self._all[number]

    def give_back(self, loan: Loan) -> None:
        if loan not in self._borrowers:
            return
        number = self._borrowers.index(loan)
        if number >= self._kept or self._is_left[number]:
            self._all[number].close()
            self._is_left[number] = False
        self._borrowers[number] = None
        with self._changed:
            self._changed.notify()


class Loan:
    """An inserter while it is lent."""

    def __init__(self, lender: InserterPool, within_s: float) -> None:
        self._lender = lender
        self._within_s = within_s

    def __enter__(self) -> Inserter:
        try:
            return self._lender.borrow(self, self._within_s)
        except BaseException:
            self._lender.give_back(self)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lender.give_back(self)
