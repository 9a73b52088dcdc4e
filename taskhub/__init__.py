"""taskhub: background jobs that are not lost.

For those who write handlers, `handler`, `Job`, `Retry` and `Fail`; for those who submit jobs, `Producer` (straight
into PostgreSQL) and `Client` (over HTTP); `submit_through` says which of them a handler's own `.submit` uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskhub.client import Client
    from taskhub.handlers.job import Job
    from taskhub.handlers.raises import Fail, Retry
    from taskhub.job_types import handler, submit_through
    from taskhub.producer import Producer

__all__ = ["Client", "Fail", "Job", "Producer", "Retry", "handler", "submit_through"]

# Each is imported when it is first used: a child needs neither of the last two in its memory, a command none.
_PLACES = {
    "Fail": "taskhub.handlers.raises",
    "Retry": "taskhub.handlers.raises",
    "Job": "taskhub.handlers.job",
    "handler": "taskhub.job_types",
    "submit_through": "taskhub.job_types",
    "Client": "taskhub.client",
    "Producer": "taskhub.producer",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'taskhub' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return value
