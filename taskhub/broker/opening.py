"""The one way to the Redis that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskhub.settings.fields import Settings

if TYPE_CHECKING:
    from taskhub.broker.broker import Broker


def open_broker(settings: Settings, *, timeout_s: float | None = None) -> Broker:
    """What connects when it is first used; each call ends within `timeout_s`, of a worker's if none is given.

    Raises SettingsError if no server is named.
    """
    from taskhub.broker.broker import Broker  # the driver takes longest to import of all: not before it is needed

    _, redis_url = settings.server_urls()
    return Broker(redis_url, timeout_s=timeout_s or settings.timers.redis_worker_s)
