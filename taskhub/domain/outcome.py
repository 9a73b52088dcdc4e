"""How an execution ended, as a value that can always be stored.

Invariants:
- An outcome of a handler's values is made by `of` only, which takes any object whatever and never raises: what
  cannot be kept becomes a failure that says so, what cannot be told becomes a constant.
- So every outcome fits the journal and PostgreSQL, and its journal reads back equal.

Times are boot-time seconds, so that a later reader on the same host can tell how long ago they were.
"""

from __future__ import annotations

from typing import NamedTuple

from taskhub.domain import storable
from taskhub.domain.job import RESULT_UNSTORABLE
from taskhub.domain.raised_in import raised_in
from taskhub.domain.result_text import json_text
from taskhub.logs.tracebacks import LineOf, described, known_line

MESSAGE_BYTES = 8 * 1024
TRACEBACK_BYTES = 8 * 1024
ERROR_UNSTORABLE = "ErrorUnstorable"

_CAUSE = BaseException.__dict__["__cause__"].__get__
_CONTEXT = BaseException.__dict__["__context__"].__get__


class Fate(NamedTuple):
    """What a failure means for its job: `retry_in_s` None means no retry, for `reason`.

    note: more to say in the message. is_meant: the handler asked for it, so how it came to it is of no interest,
    unless another error led there.
    """

    cause: str
    retry_in_s: float | None
    reason: str | None = None
    note: str = ""
    is_meant: bool = False


class Completed(NamedTuple):
    """The handler returned; `result` is JSON text, None for a null result."""

    id: str
    result: str | None
    started_s: float
    finished_s: float

    @staticmethod
    def of(job_id: str, result: object, started_s: float, finished_s: float) -> Completed | Failed:
        """The outcome of a handler that returned any object."""
        if result is None:
            return Completed(job_id, None, started_s, finished_s)
        try:
            return Completed(job_id, json_text(result), started_s, finished_s)
        except BaseException as error:  # noqa: BLE001 (the object's own code may have run)
            return Failed.unstorable(job_id, error, started_s, finished_s)


class Committed(NamedTuple):
    """The handler completed its job itself, in a transaction that is committed: nothing is left to settle."""

    id: str
    started_s: float
    finished_s: float

    @staticmethod
    def of(job_id: str, started_s: float, finished_s: float) -> Committed:
        return Committed(job_id, started_s, finished_s)


class Failed(NamedTuple):
    """The handler did not; `retry_in_s` None means no retry, for `reason`.

    raised_in: the handler's own last frame, `file:line function`. traceback: as Python shows it, with its causes.
    """

    id: str
    type: str
    message: str
    cause: str
    retry_in_s: float | None
    reason: str | None
    started_s: float
    finished_s: float
    peak_rss_mb: float | None = None  # known of a process that is dead
    raised_in: str | None = None
    traceback: str | None = None

    @staticmethod
    def of(
        job_id: str,
        error: BaseException,
        fate: Fate,
        started_s: float,
        finished_s: float,
        line_of: LineOf = known_line,
    ) -> Failed:
        """The outcome of a handler that raised any exception, told in the frame that caught it.

        line_of: gives the lines of source in the traceback.
        """
        try:
            name, message = storable.class_name(error), _said(error, fate)
        except BaseException:  # noqa: BLE001 (no memory, or no stack, not even for this)
            name, message = "Error", "what was raised cannot be told"
        failed = Failed(job_id, name, message, fate.cause, fate.retry_in_s, fate.reason, started_s, finished_s)
        try:
            return failed._replace(raised_in=raised_in(error), traceback=_trace(error, fate, line_of))
        except BaseException:  # noqa: BLE001 (as above)
            return failed

    @staticmethod
    def unstorable(job_id: str, why: BaseException, started_s: float, finished_s: float) -> Failed:
        """The outcome of a handler whose result cannot be kept."""
        message = f"the result cannot be stored: {storable.text(why, 500) or storable.class_name(why)}"
        times = (started_s, finished_s)
        return Failed(job_id, "ResultUnstorable", message, "exception", None, RESULT_UNSTORABLE, *times)

    @staticmethod
    def told(job_id: str, name: str, message: str, fate: Fate, span: tuple[float, float, float | None]) -> Failed:
        """A failure in our own words; `span` is when it started and finished, and the most memory it took."""
        clean = storable.text(message, MESSAGE_BYTES)
        return Failed(job_id, name, clean, fate.cause, fate.retry_in_s, fate.reason, *span)

    def without_its_words(self, why: str) -> Failed:
        """The same failure with none of the handler's words, which PostgreSQL has refused."""
        message = f"what the handler raised cannot be stored: {storable.text(why, 200)}"
        words = message.encode("ascii", "replace").decode()
        return self._replace(type=ERROR_UNSTORABLE, message=words, raised_in=None, traceback=None)


Outcome = Completed | Failed | Committed


def _said(error: BaseException, fate: Fate) -> str:
    """The error's text."""
    said = storable.text(error, MESSAGE_BYTES - 1024) or storable.class_name(error)
    return storable.text(said + fate.note, MESSAGE_BYTES)


def _trace(error: BaseException, fate: Fate, line_of: LineOf) -> str | None:
    """Its traceback; None for what the handler raised on purpose, and of itself."""
    if fate.is_meant and _CAUSE(error) is None and _CONTEXT(error) is None:
        return None
    return storable.text(described(error, TRACEBACK_BYTES, line_of, past=1), TRACEBACK_BYTES)
