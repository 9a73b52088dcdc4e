"""Loggers whose lines pass through nobody's logging configuration.

They stand outside of the logging module: what a handler or a library does there (dictConfig, disable,
shutdown, filters, factories, levels) neither silences nor breaks them. In a program that has not set our
log up, because it merely uses taskhub as a library, they hand on to the logging module instead.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from taskhub.logs.escaping import attempt, escape, plain, text_of
from taskhub.logs.process_log import MAX_FIELDS, Fields, ProcessLog, level_name
from taskhub.logs.reserved_names import reserved_names

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter  # of no type parameters in Python 3.10

JOB_EVENT = "job.log"  # whatever a handler says: it cannot look like an event of ours

_SIZED = (str, bytes, bytearray, list, tuple, dict)
_process_log: ProcessLog | None = None


def use(process_log: ProcessLog | None) -> None:
    """From now on lines go there, and to no earlier one; None: to the logging module."""
    global _process_log
    before, _process_log = _process_log, process_log
    if before is not None:
        before.close()


def take_dropped() -> int:
    """How many lines of this process were dropped since the last call."""
    return _process_log.take_dropped() if _process_log is not None else 0


def tell(level: str, event: str, message: str, fields: dict[str, Any]) -> None:
    """A line that is wanted at every level; nothing in a process whose log is not set up."""
    if _process_log is not None:
        _process_log.tell(level, event, message, fields)


class EventLogger:
    """The logger of a module. `extra` are the fields; `text` is the sentence for people, `traceback` is told as one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def debug(self, event: str, *, extra: Mapping[str, Any] | None = None, exc_info: Any = None) -> None:
        self.log(logging.DEBUG, event, extra=extra, exc_info=exc_info)

    def info(self, event: str, *, extra: Mapping[str, Any] | None = None) -> None:
        self.log(logging.INFO, event, extra=extra)

    def warning(self, event: str, *, extra: Mapping[str, Any] | None = None) -> None:
        self.log(logging.WARNING, event, extra=extra)

    def error(self, event: str, *, extra: Mapping[str, Any] | None = None, exc_info: Any = None) -> None:
        self.log(logging.ERROR, event, extra=extra, exc_info=exc_info)

    def exception(self, event: str, *, extra: Mapping[str, Any] | None = None) -> None:
        """With the traceback of the exception that is being handled."""
        self.log(logging.ERROR, event, extra=extra, exc_info=True)

    def log(self, level: int, event: str, *, extra: Mapping[str, Any] | None = None, exc_info: Any = None) -> None:
        if not self.isEnabledFor(level):
            return
        fields = dict(extra) if extra else {}
        message = text_of(fields.pop("text", event))
        error = error_of(exc_info)
        if _process_log is not None:
            traceback = fields.pop("traceback", None) or ""
            _process_log.tell(level_name(level), event, message, fields, error, traceback)
        else:
            _to_logging(self.name, level, event if message == event else f"{event}: {message}", fields, error)

    def isEnabledFor(self, level: int) -> bool:
        if _process_log is not None:
            return level >= _process_log.level
        return logging.getLogger(self.name).isEnabledFor(level)


class JobLogger(Adapter):
    """`job.log`: the interface of the logging module; every line carries the job's fields beside those given."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(logging.getLogger("taskhub.job"), fields)
        self._fields = fields

    def log(self, level: int, msg: object, *args: Any, **options: Any) -> None:
        if not self.isEnabledFor(level):
            return
        fields = beside(self._fields, options.get("extra"))
        message, error = message_of(msg, args), error_of(options.get("exc_info"))
        if _process_log is not None:
            _process_log.tell(level_name(level), JOB_EVENT, message, fields, error)
        else:
            _to_logging(self.logger.name, level, message, fields, error)

    def exception(self, msg: object, *args: Any, exc_info: Any = True, **options: Any) -> None:
        self.log(logging.ERROR, msg, *args, exc_info=exc_info, **options)

    def isEnabledFor(self, level: int) -> bool:
        return level >= _process_log.level if _process_log is not None else super().isEnabledFor(level)


def get_logger(name: str) -> EventLogger:
    """The logger of a module; pass `__name__`."""
    return EventLogger(name)


def log_all(logger: EventLogger, level: int, event: str, common: Fields, rows: list[Fields]) -> None:
    """Many records of one event at one moment, each with the common fields and its own: a tenth of the price.

    common: with the `text` that all have; it and all else is known to be short and of JSON's types.
    """
    if not rows or not logger.isEnabledFor(level):
        return
    if _process_log is not None:
        fields = dict(common)
        _process_log.tell_all(level_name(level), event, fields.pop("text", event), fields, rows)
    else:
        for row in rows:
            logger.log(level, event, extra=common | row)


def message_of(template: Any, arguments: Any) -> str:
    """The message of a call of the logging module's kind, also where the arguments do not fit."""
    text = text_of(template)
    return attempt(lambda: text % _bounded(arguments), lambda: f"{text} {plain(arguments)}") if arguments else text


def error_of(exc_info: Any) -> BaseException | None:
    """The error that `exc_info` means: itself, one of a triple, or the one that is being handled."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) == 3 and isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if attempt(lambda: bool(exc_info), lambda: False) else None


def _bounded(arguments: Any) -> Any:
    """What large arguments would fill is cut off before it is copied into the message."""
    if len(arguments) == 1 and type(arguments[0]) is dict:
        return {key: _argument(value) for key, value in islice(arguments[0].items(), MAX_FIELDS)}
    return tuple(_argument(value) for value in islice(arguments, MAX_FIELDS))


def _argument(value: Any) -> Any:
    return plain(value) if issubclass(type(value), _SIZED) else value


def beside(own: Fields, extra: Any) -> Fields:
    """A job's own fields and those that its handler gives; where two bear the same name, both are kept."""
    fields: dict[str, Any] = attempt(lambda: _fields(extra), lambda: {"extra": extra})
    return own | {f"extra_{key}" if key in own else key: value for key, value in fields.items()}


def _fields(extra: Any) -> dict[str, Any]:
    return {text_of(key, 200): extra[key] for key in islice(extra or (), MAX_FIELDS)}


def _to_logging(name: str, level: int, message: str, fields: dict[str, Any], error: BaseException | None) -> None:
    not_fields = reserved_names()
    extra = {key: value for key, value in fields.items() if key not in not_fields and key != "text"}
    logging.getLogger(name).log(level, "%s", escape(message), extra=extra, exc_info=error)
