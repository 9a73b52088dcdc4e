"""The names that a record of the logging module has for itself: none of its extras may bear one."""

from __future__ import annotations

from functools import cache


@cache
def reserved_names() -> frozenset[str]:
    """The library that lists them is imported once somebody has records, which a program that only submits has not."""
    from pythonjsonlogger.core import RESERVED_ATTRS

    return frozenset(RESERVED_ATTRS)
