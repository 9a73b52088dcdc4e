"""Logs: one event a line, JSON for machines or readable for people.

- A record is made by `log.info("job.completed", extra={...})`: the first argument is the event, an extra
  named `text` the sentence for people, every other extra a field. Records of other libraries get their
  logger's name as event, and the job that runs in their process as fields.
- No line is longer than 4 KiB (so lines of several processes on one pipe never mix) and nothing inside a
  value can end a line or reach a terminal as a control sequence.
- Our lines pass through nobody's logging configuration, wait for no reader, and raise nothing.
"""

from taskhub.logs.escaping import pass_on
from taskhub.logs.lines import MAX_LINE_BYTES
from taskhub.logs.loggers import EventLogger, JobLogger, get_logger, log_all, take_dropped
from taskhub.logs.setup import configure, name_jobs
from taskhub.logs.tracebacks import MAX_TRACEBACK_BYTES

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_TRACEBACK_BYTES",
    "EventLogger",
    "JobLogger",
    "configure",
    "get_logger",
    "log_all",
    "name_jobs",
    "pass_on",
    "take_dropped",
]
