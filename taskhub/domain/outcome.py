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

MESSAGE_BYTES = 8 * 1024
ERROR_UNSTORABLE = "ErrorUnstorable"

_FRAMES = 100_000  # of a traceback that are walked; an ordinary one has no more than the recursion limit
_TRACEBACK = BaseException.__dict__["__traceback__"].__get__


class Fate(NamedTuple):
    """What a failure means for its job: `retry_in_s` None means no retry, for `reason`.

    note: more to say in the message. is_meant: the handler asked for it, so where it did is of no interest.
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
        try:
            text = None if result is None else storable.json_text(result)
            return Completed(job_id, text, started_s, finished_s)
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
    """The handler did not; `retry_in_s` None means no retry, for `reason`."""

    id: str
    type: str
    message: str
    cause: str
    retry_in_s: float | None
    reason: str | None
    started_s: float
    finished_s: float
    peak_rss_mb: float | None = None  # known of a process that is dead

    @staticmethod
    def of(job_id: str, error: BaseException, fate: Fate, started_s: float, finished_s: float) -> Failed:
        """The outcome of a handler that raised any exception."""
        try:
            name, message = storable.class_name(error), _described(error, fate)
        except BaseException:  # noqa: BLE001 (no memory, or no stack, not even for this)
            name, message = "Error", "what was raised cannot be told"
        return Failed(job_id, name, message, fate.cause, fate.retry_in_s, fate.reason, started_s, finished_s)

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
        return self._replace(type=ERROR_UNSTORABLE, message=message.encode("ascii", "replace").decode())


Outcome = Completed | Failed | Committed


def _described(error: BaseException, fate: Fate) -> str:
    """The error's text, and where it was raised."""
    place = "" if fate.is_meant else _place(error)
    said = storable.text(error, MESSAGE_BYTES - 1024) or storable.class_name(error)
    return storable.text(said + fate.note + place, MESSAGE_BYTES)


def _place(error: BaseException) -> str:
    """The innermost frame below the one that caught it; empty if there is none."""
    trace, last = _TRACEBACK(error), None
    for _ in range(_FRAMES):
        if trace is None or trace.tb_next is None:
            break
        last = trace = trace.tb_next
    if last is None:
        return ""
    code = last.tb_frame.f_code
    return f" (at {storable.text(code.co_filename, 500)}:{last.tb_lineno} in {storable.text(code.co_name, 200)})"
