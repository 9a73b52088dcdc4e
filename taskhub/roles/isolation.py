"""One poisonous record, queue, slot or row never stops its neighbours.

Of the items of a pass the well ones come first, then those that fail, the least tried first. A failing one is tried
again after a pause that doubles; after its fifth failure it is set aside, if its role knows how (a lack of memory or
descriptors is no failure of its own). A dependency that is away ends the pass, for the rest would fail as well;
but the next pass begins with the others, so that not even a row that somebody has locked can hold them up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from taskhub import clock
from taskhub.logs import get_logger
from taskhub.roles.role_thread import WAITS
from taskhub.roles.state import RoleState

log = get_logger(__name__)

T = TypeVar("T")

SET_ASIDE_AFTER = 5
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 300.0
_REMEMBERED = 1_000
_NOT_ITS_FAULT = (OSError, MemoryError)


@dataclass
class _ItemState:
    """What one item has cost: tries in vain, of those the failures, of those its own fault."""

    tries: int = 0
    failures: int = 0
    own: int = 0
    again_at_s: float = 0.0


class Isolation:
    """The failures of one role's items, by their keys; the oldest are forgotten when there are too many."""

    def __init__(self, state: RoleState) -> None:
        self._state = state
        self._items: OrderedDict[Hashable, _ItemState] = OrderedDict()
        state.failing_items = 0

    def each(
        self,
        items: Iterable[T],
        key: Callable[[T], Hashable],
        do: Callable[[T], object],
        set_aside: Callable[[T, str], object] | None = None,
    ) -> None:
        """`do` each item. set_aside: is called with the reason instead, once an item has failed too often."""
        keyed = sorted(((key(item), item) for item in items), key=lambda pair: self._tries(pair[0]))
        for name, item in keyed:
            state = self._items.get(name)
            if state is not None and clock.monotonic_s() < state.again_at_s:
                continue
            is_given_up = set_aside is not None and state is not None and state.own >= SET_ASIDE_AFTER
            try:
                if set_aside is not None and is_given_up:
                    set_aside(item, f"it failed {SET_ASIDE_AFTER} times")
                else:
                    do(item)
            except WAITS:
                self._item(name).tries += 1
                raise
            except BaseException as error:  # noqa: BLE001 (whatever it is, it is this item's)
                self._failed(name, error)
            else:
                self._items.pop(name, None)
        self._state.failing_items = sum(1 for state in self._items.values() if state.failures)

    def _failed(self, name: Hashable, error: BaseException) -> None:
        state = self._item(name)
        state.tries += 1
        state.failures += 1
        state.own += not isinstance(error, _NOT_ITS_FAULT)
        pause_s = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (state.failures - 1))
        state.again_at_s = clock.monotonic_s() + pause_s
        self._state.count(type(error).__name__)
        if state.failures in (1, SET_ASIDE_AFTER):
            fields = {"role": self._state.name, "item": str(name), "failures": state.failures}
            text = f"{type(error).__name__}; the others go on, and it is tried again"
            log.error("maintenance.item_failed", extra=fields | {"text": text}, exc_info=error)

    def _tries(self, name: Hashable) -> int:
        state = self._items.get(name)
        return state.tries if state is not None else 0

    def _item(self, name: Hashable) -> _ItemState:
        if name not in self._items and len(self._items) >= _REMEMBERED:
            self._items.popitem(last=False)
        return self._items.setdefault(name, _ItemState())
