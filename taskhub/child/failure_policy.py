"""What a failure means for its job: whether it runs again, when, and why not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from taskhub.domain.backoff import reconnect_delay_s, retry_delay_s
from taskhub.domain.errors import TransactionLostError
from taskhub.domain.job import INTERRUPTED, NON_RETRYABLE, ClaimedJob
from taskhub.domain.outcome import Fate
from taskhub.handlers.raises import Fail, JobCancelled, JobTimeout, Retry, asked_delay

_CAUSE_OF = BaseException.__dict__["__cause__"].__get__  # whatever its class says
_CAUSES = {JobTimeout: "timeout", JobCancelled: "cancelled"}
_AFTER_A_LOSS_S = (0.5, 60.0)  # before a job runs again that was interrupted by the loss of our own connection


@dataclass(frozen=True)
class FailurePolicy:
    """The defaults for jobs whose type and submission say nothing."""

    retry_base_s: float
    retry_cap_s: float
    timeout_s: float

    def fate_of(self, claimed: ClaimedJob, error: BaseException) -> Fate:
        """By what the handler raised."""
        if issubclass(type(error), TransactionLostError):
            made_of_it = _CAUSE_OF(error)  # by the handler
            if not issubclass(type(made_of_it), (Fail, Retry)):
                return Fate(INTERRUPTED, reconnect_delay_s(claimed.interruptions + 1, *_AFTER_A_LOSS_S))
            error = made_of_it
        kind = type(error)
        if issubclass(kind, Fail):
            return Fate("exception", None, NON_RETRYABLE, is_meant=True)
        usual = self.usual(claimed)
        if issubclass(kind, Retry):
            delay_s, note = asked_delay(error)  # type: ignore[arg-type]
            return usual._replace(retry_in_s=usual.retry_in_s if delay_s is None else delay_s, note=note, is_meant=True)
        # By identity: the class of a handler's exception need not be hashable.
        return usual._replace(cause=next((cause for known, cause in _CAUSES.items() if kind is known), "exception"))

    def usual(self, claimed: ClaimedJob) -> Fate:
        """Again after a pause that grows with each failure."""
        failures = claimed.attempt - claimed.interruptions
        return Fate("exception", retry_delay_s(failures, self.retry_base_s, self.retry_cap_s))
