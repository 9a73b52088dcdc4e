"""Logs: one event a line, JSON for machines or readable for people, written without ever waiting for a reader."""

from taskhub.logs.lines import MAX_LINE_BYTES
from taskhub.logs.setup import (
    MAX_TRACEBACK_BYTES,
    ConsoleFormatter,
    JsonFormatter,
    LineHandler,
    configure,
    get_logger,
    log_all,
    take_dropped,
)

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_TRACEBACK_BYTES",
    "ConsoleFormatter",
    "JsonFormatter",
    "LineHandler",
    "configure",
    "get_logger",
    "log_all",
    "take_dropped",
]
