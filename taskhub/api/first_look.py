"""One look at PostgreSQL when the API begins: whoever starts it learns at once that it is away, or not migrated."""

from __future__ import annotations

import threading

from taskhub.api.context import ApiContext
from taskhub.domain.errors import SchemaOutdatedError, TaskhubError
from taskhub.logs import get_logger
from taskhub.store.migrations import require_current

log = get_logger(__name__)

_LOOK_S = 5.0


def look(context: ApiContext) -> None:
    """Beside the requests, which wait for nothing of it."""
    threading.Thread(target=_look, args=(context,), name="first look", daemon=True).start()


def _look(context: ApiContext) -> None:
    try:
        with context.store.connection() as connection:
            require_current(connection, timeout_s=_LOOK_S)
    except SchemaOutdatedError as error:
        log.warning("schema.waits", extra={"text": str(error)})
    except TaskhubError as error:
        log.warning("api.waits", extra={"text": f"{error}; requests get 503 until it is there"})
    except Exception as error:  # noqa: BLE001 (the requests will say it better)
        log.warning("api.waits", extra={"text": f"PostgreSQL could not be looked at: {type(error).__name__}"})
