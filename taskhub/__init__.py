"""taskhub: background jobs that are not lost.

For those who write handlers, `handler`, `Retry` and `Fail`; for those who submit jobs, `Producer` (straight
into PostgreSQL) and `Client` (over HTTP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskhub.execution.control import Fail, Retry
from taskhub.execution.registry import handler

if TYPE_CHECKING:
    from taskhub.client import Client
    from taskhub.producer import Producer

__all__ = ["Client", "Fail", "Producer", "Retry", "handler"]


def __getattr__(name: str) -> Any:
    # A worker imports this package for its handlers and needs neither of these in each child's memory.
    if name == "Producer":
        from taskhub.producer import Producer

        return Producer
    if name == "Client":
        from taskhub.client import Client

        return Client
    raise AttributeError(f"module 'taskhub' has no attribute {name!r}")
