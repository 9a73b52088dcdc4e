"""/livez, /readyz, /health and /metrics."""

from __future__ import annotations

from flask import Blueprint, Response

from taskhub.api.context import ApiContext
from taskhub.api.responses import json_answer
from taskhub.domain.errors import SchemaOutdatedError, StoreUnavailableError, TaskhubError
from taskhub.logs import get_logger
from taskhub.metrics import definitions as metrics
from taskhub.metrics import page
from taskhub.store.migrations import require_current

log = get_logger(__name__)

_CHECK_S = 1.0


class _Readiness:
    """Is PostgreSQL there, with a schema that this version may run on?"""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._said = ""
        self.newer_schema: str | None = None  # in words, at the last look

    def postgres(self) -> str:
        try:
            with self._context.store.connection() as connection:
                was_open = connection.is_open
                try:
                    self.newer_schema = require_current(connection, timeout_s=_CHECK_S)
                except SchemaOutdatedError:
                    raise
                except StoreUnavailableError:  # it may have died since its last use
                    if not was_open:
                        raise
                    self.newer_schema = require_current(connection, timeout_s=_CHECK_S)
        except SchemaOutdatedError as error:
            self._say(str(error))
            return str(error)
        except TaskhubError:
            return "away"
        self._said = ""
        return "ok"

    def _say(self, text: str) -> None:
        """One line for as long as it lasts."""
        if text != self._said:
            self._said = text
            log.warning("schema.waits", extra={"text": text})


def blueprint(context: ApiContext) -> Blueprint:
    """The routes over one process's context."""
    routes = Blueprint("health", __name__)
    readiness = _Readiness(context)

    @routes.get("/livez")
    def live() -> Response:
        return json_answer({"status": "ok", "checks": {}})

    @routes.get("/readyz")
    @routes.get("/health")
    def ready() -> Response:
        postgres = readiness.postgres()
        is_draining = context.is_draining()
        redis = "ok" if context.doorbell.ask() else "away"
        is_ready = postgres == "ok" and not is_draining
        checks = {"postgres": postgres, "redis": redis, "draining": is_draining}
        if readiness.newer_schema:
            checks["schema"] = readiness.newer_schema
        return json_answer({"status": "ok" if is_ready else "unready", "checks": checks}, 200 if is_ready else 503)

    @routes.get("/metrics")
    def scrape() -> Response:
        depths = context.depths.depths()
        computed = [
            metrics.QUEUE_DEPTH.of({(queue,): depth for queue, depth in depths.items()}),
            metrics.WAITERS.of({(): context.waiters.count}),
            metrics.REDIS_UP.of({(): int(context.doorbell.is_up)}),
            metrics.POSTGRES_UP.of({(): int(readiness.postgres() == "ok")}),
        ]
        return Response(page.render(computed), content_type=page.CONTENT_TYPE)

    return routes
