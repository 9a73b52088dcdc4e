"""Internal timers: read as settings are, but meant for tests."""

from __future__ import annotations

from dataclasses import dataclass

from taskhub.settings.declaring import setting
from taskhub.settings.kinds import seconds

TIMER_PREFIX = "TASKHUB_INTERNAL_"

_TIMER = seconds(0, 86_400.0)
_LIMIT = seconds(0.001, 3600)


@dataclass(frozen=True)
class Timers:
    """Internal timers, in seconds: not for tuning, tests shorten them (`TASKHUB_INTERNAL_<NAME>`)."""

    heartbeat_s: float = setting("5", _TIMER, "between two heartbeats of a worker")
    worker_dead_s: float = setting("15", _TIMER, "without a heartbeat, a worker counts as dead")
    validity_s: float = setting("10", _TIMER, "after a heartbeat, children may start jobs")
    dispatch_s: float = setting("0.5", _TIMER, "between two passes of the dispatcher")
    reconcile_s: float = setting("1", _TIMER, "between two passes of the reconciler")
    reconcile_slack_s: float = setting("5", _TIMER, "the reconciler leaves rows younger than this to Redis")
    mark_lag_s: float = setting("15", _TIMER, "a mark never comes nearer than this to now")
    recover_s: float = setting("1", _TIMER, "between two passes of the recoverer")
    epoch_s: float = setting("1", _TIMER, "between two raises of a queue's epoch")
    block_s: float = setting("2", _TIMER, "the longest wait of an idle child on Redis")
    batch_budget_s: float = setting("0.05", _TIMER, "the work that a child takes at once")
    settle_within_s: float = setting("0.02", _TIMER, "finished work is settled so soon beside a long job")
    interpreter_hold_s: float = setting("1", _TIMER, "a handler holding the interpreter longer is helped")
    kill_grace_s: float = setting("5", _TIMER, "from the soft timeout to the kill")
    stall_s: float = setting("15", _TIMER, "a child that neither works nor asks for work is replaced")
    import_s: float = setting("120", _TIMER, "importing the handlers")
    sidecar_stall_s: float = setting("4.5", _TIMER, "a sidecar that is silent so long is replaced")
    boot_backoff_s: float = setting("0.5", _TIMER, "first wait after a child died before its first job")
    boot_backoff_cap_s: float = setting("30", _TIMER, "longest such wait")
    pg_statement_s: float = setting("5", _LIMIT, "statement timeout in PostgreSQL")
    pg_lock_s: float = setting("4", _LIMIT, "lock timeout in PostgreSQL")
    pg_connect_s: float = setting("5", _LIMIT, "connecting to PostgreSQL")
    redis_api_s: float = setting("0.1", _LIMIT, "one Redis call by the API")
    redis_worker_s: float = setting("4", _LIMIT, "one Redis call by a worker")
    rescue_healthy_s: float = setting("15", _TIMER, "own health before declaring others dead")
