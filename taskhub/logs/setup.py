"""Set this process's log up, and have what others log through the logging module look as our own lines do."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from taskhub.logs import loggers
from taskhub.logs.console_lines import ConsoleLines
from taskhub.logs.escaping import attempt, text_of
from taskhub.logs.json_lines import JsonLines
from taskhub.logs.loggers import beside, error_of, message_of
from taskhub.logs.process_log import Fields, Form, ProcessLog
from taskhub.logs.reserved_names import reserved_names
from taskhub.settings.fields import Settings

_running: Callable[[], Fields] = dict


def configure(settings: Settings, descriptor: int = 1, *, waits: bool = True) -> None:
    """Send every record of this process to `descriptor` (standard output) in the form that is set.

    waits: False in a process whose loop must never wait, not even a moment for a reader of its log.
    """
    is_json = settings.log_format == "json"
    form: Form = JsonLines() if is_json else ConsoleLines(_is_terminal(descriptor))
    level: int = getattr(logging, settings.log_level.upper())
    process_log = ProcessLog(level, form, descriptor, waits=waits)
    loggers.use(process_log)
    root = logging.getLogger()
    root.handlers[:] = [RecordHandler(process_log)]
    root.setLevel(level)


def name_jobs(running: Callable[[], Fields]) -> None:
    """From now on the records of others carry these fields, too: those of the job that runs."""
    global _running
    _running = running


class RecordHandler(logging.Handler):
    """For the records of others. A program may replace it; then its own configuration holds for its own records."""

    def __init__(self, process_log: ProcessLog) -> None:
        super().__init__()
        self._process_log = process_log
        self._not_fields = reserved_names() | {"message"}

    def emit(self, record: logging.LogRecord) -> None:
        values: dict[str, Any] = attempt(lambda: dict(vars(record)), dict)
        given = {key: value for key, value in values.items() if key not in self._not_fields}
        fields = beside(_running(), given)
        if values.get("stack_info"):
            fields["stack"] = values["stack_info"]
        level, name = text_of(values.get("levelname", "info"), 30).lower(), text_of(values.get("name", "?"), 200)
        message = message_of(values.get("msg"), values.get("args"))
        self._process_log.tell(level, name, message, fields, error_of(values.get("exc_info")))


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
