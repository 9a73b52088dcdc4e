"""What a handler may raise to say how its execution ends."""

from __future__ import annotations

from taskhub.domain import storable
from taskhub.logs import pass_on

_LONGEST_DELAY_S = 365 * 86_400


class Retry(Exception):
    """Try again later, spending an attempt: after `after_s` seconds (any number), or after the usual backoff."""

    after_s: float | None = None  # also of a subclass that does not call this __init__

    def __init__(self, after_s: float | None = None) -> None:
        if after_s is not None:
            try:
                after_s = storable.seconds(after_s, 0, _LONGEST_DELAY_S)
            except ValueError as error:
                raise ValueError(f"Retry(after_s): {error}") from None
        super().__init__("the handler asked for a retry")
        self.after_s = after_s


def asked_delay(error: Retry) -> tuple[float | None, str]:
    """The delay that a Retry asks for, whatever its class has made of `after_s`; a note if it cannot be had."""
    try:
        after_s: object = error.after_s
        return (None if after_s is None else storable.seconds(after_s, 0, _LONGEST_DELAY_S)), ""
    except BaseException as problem:  # noqa: BLE001 (a handler's class may do anything here)
        return None, f" (its after_s cannot be used: {storable.text(problem, 200)})"


class Fail(Exception):
    """Fail for good now: no retry helps. The job becomes a dead letter with reason non_retryable."""

    def __init__(self, reason: str = "the handler gave up") -> None:
        super().__init__(reason)


class InvalidPayload(Fail):
    """Raised in the handler's place for a payload that does not fit its type's schema."""


class JobTimeout(BaseException):
    """Raised inside a handler whose time is over. No Exception, so that a broad `except` does not swallow it."""


class JobCancelled(BaseException):
    """Raised inside a handler whose job somebody has cancelled."""


pass_on(JobTimeout, JobCancelled)
