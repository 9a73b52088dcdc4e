"""What a handler may raise to say how its execution ends."""

from __future__ import annotations


class Retry(Exception):
    """Try again later, spending an attempt: after `after_s` seconds, or after the usual backoff."""

    def __init__(self, after_s: float | None = None) -> None:
        if after_s is not None and not 0 <= after_s <= 365 * 86_400:
            raise ValueError(f"after_s {after_s!r} is not 0 to 365 days of seconds")
        super().__init__("the handler asked for a retry")
        self.after_s = after_s


class Fail(Exception):
    """Fail for good now: no retry helps. The job becomes a dead letter with reason non_retryable."""

    def __init__(self, reason: str = "the handler gave up") -> None:
        super().__init__(reason)


class JobTimeout(BaseException):
    """Raised inside a handler whose time is over. No Exception, so that a broad `except` does not swallow it."""


class JobCancelled(BaseException):
    """Raised inside a handler whose job somebody has cancelled."""
