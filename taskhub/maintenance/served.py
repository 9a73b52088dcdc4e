"""Which queues this worker serves, for its row in PostgreSQL.

Mostly the handlers are imported before the fork, and their queues are known at once. Those that cannot be (a module
of theirs starts threads) are imported by a role of their own, and the heartbeat does not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable


class Served:
    """The names, none until they are found."""

    def __init__(self, find: Callable[[], list[str]], *, is_quick: bool) -> None:
        self._find = find
        self.names: tuple[str, ...] = ()
        if is_quick:
            self.find()

    def find(self) -> None:
        """Find them, unless that is done."""
        if not self.names:
            self.names = tuple(self._find())
