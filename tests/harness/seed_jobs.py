"""Place jobs with any columns, as no client could, and say how a worker's timers are shortened."""

from __future__ import annotations

import json
from typing import Any

from taskhub.broker.broker import Broker
from tests.harness.rows import Rows

HANDLERS = {"TASKHUB_HANDLERS": "tests.harness.handlers,tests.harness.misbehaving_handlers"}
SOON = {"TASKHUB_RETRY_BASE_S": "0.05", "TASKHUB_RETRY_CAP_S": "0.2", "TASKHUB_DRAIN_S": "5"}
# Host loss at about a fifth of the shipped times.
MORTAL = {
    "TASKHUB_INTERNAL_HEARTBEAT_S": "0.5",
    "TASKHUB_INTERNAL_VALIDITY_S": "2",
    "TASKHUB_INTERNAL_WORKER_DEAD_S": "3",
    "TASKHUB_INTERNAL_RESCUE_HEALTHY_S": "2",
    "TASKHUB_INTERNAL_RECOVER_S": "0.3",
}


def place(
    rows: Rows,
    broker: Broker,
    type: str,
    payload: dict[str, Any] | None = None,
    count: int = 1,
    **columns: Any,
) -> list[str]:
    """Insert jobs and push them; returns their ids."""
    made = rows.add(count, type=type, payload=json.dumps({"type": type, **(payload or {})}), **columns)
    broker.push(columns.get("queue", "default"), columns.get("priority", 4), made)
    return made


def gap_s(earlier_ns: int, later_ns: int) -> float:
    """Seconds between two entries of a ledger."""
    return (later_ns - earlier_ns) / 1e9
