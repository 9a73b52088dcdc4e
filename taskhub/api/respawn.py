"""A process of the API that takes the place of one that died, while the application cannot be loaded.

gunicorn ends the whole API when one of its processes cannot load the application. That is right at the start; later,
when files are being replaced or have gone, the other processes still serve, and this one is tried again.
"""

from __future__ import annotations

import random
import sys

from gunicorn.workers.gthread import ThreadWorker

from taskhub import clock
from taskhub.logs import get_logger

log = get_logger(__name__)

_PAUSE_S = 1.0, 2.0


class RespawnedWorker(ThreadWorker):  # type: ignore[misc]
    """`age` counts processes from the API's start: the first ones are not here in anybody's place."""

    def load_wsgi(self) -> None:
        """Raises what keeps the application from loading at the API's start."""
        try:
            super().load_wsgi()
        except BaseException as error:
            if self.age <= self.cfg.workers:
                raise
            text = f"{type(error).__name__}: {error}; the others serve, and it is tried again"
            log.error("api.cannot_begin", extra={"text": text})
            clock.sleep(random.uniform(*_PAUSE_S))  # noqa: S311 (spreads the tries)
            sys.exit(1)  # not gunicorn's status for what ends the API
