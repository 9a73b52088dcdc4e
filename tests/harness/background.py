"""A call in a thread of its own, for statements that are to wait for another transaction."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from tests.harness.rows import Rows
from tests.waiting import wait_until


class Background:
    """One call under way."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._call, args=(function, arguments, named), daemon=True)
        self._thread.start()

    def is_blocked_in(self, rows: Rows) -> None:
        """Wait until PostgreSQL says that a session of this database waits for a lock."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        wait_until(lambda: rows.value(waiting), 5, "a statement waits for a lock")

    def interrupt(self, error: type[BaseException]) -> None:
        """Have `error` raised in the thread, at its next step in Python."""
        assert self._thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(error))

    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def result(self, deadline_s: float = 10) -> Any:
        """What the call returned, or raise what it raised."""
        self._thread.join(deadline_s)
        assert not self._thread.is_alive(), "the call has not returned"
        if self._error is not None:
            raise self._error
        return self._outcome

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        try:
            self._outcome = function(*arguments, **named)
        except BaseException as error:
            self._error = error
