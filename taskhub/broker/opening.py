"""The one way to the Redis that the settings name."""

from __future__ import annotations

from taskhub.broker.broker import Broker
from taskhub.settings.fields import Settings


def open_broker(settings: Settings, *, timeout_s: float | None = None) -> Broker:
    """What connects when it is first used; each call ends within `timeout_s`, of a worker's if none is given.

    Raises SettingsError if no server is named.
    """
    _, redis_url = settings.server_urls()
    return Broker(redis_url, timeout_s=timeout_s or settings.timers.redis_worker_s)
