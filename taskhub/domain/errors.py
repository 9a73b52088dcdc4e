"""The one tree of errors, each with a stable code.

    TaskhubError
      InvalidInputError            what a client sent
        MalformedJsonError         malformed_json
        TooDeepError               too_deep
        InvalidRequestError        invalid_request
        InvalidPayloadError        invalid_payload
        UnknownTypeError           unknown_type
        JobRefusedError            job_refused            by a rule that the database's operator added
      QueueFullError               queue_full
      JobNotFoundError             not_found
      JobFinishedError             job_finished
      LeaseLostError               lease_lost             only inside job.transaction() and job.complete()
      TransactionStateError        transaction_state      the same: used twice, nested, or where it cannot be
      UnavailableError             unavailable            a dependency is away; the same call may succeed later
        StoreUnavailableError                             PostgreSQL; `outcome_unknown` tells if it was sent
          SchemaOutdatedError      schema_outdated        until somebody migrates, or deploys
          BlockedError                                    other transactions stand in the way; nothing happened
          TransactionLostError                            the connection of job.transaction(): the job is interrupted
        BrokerUnavailableError                             Redis
        TooManyWaitersError        too_many_waiters
      StatementError               statement_refused

Adapters translate their drivers' errors at their own border; `taskhub.api.problems` is the only
place that maps a code to HTTP. Elsewhere, losing a lease is an outcome, not an error.
"""

from __future__ import annotations

from dataclasses import dataclass


class TaskhubError(Exception):
    """Something that taskhub can name; `code` is stable, the message says what to do."""

    code = "internal"


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with what a client sent: `path` like `payload.value`, or empty for the whole."""

    path: str
    message: str


class InvalidInputError(TaskhubError):
    """What a client sent cannot be accepted."""

    code = "invalid_request"

    def __init__(self, message: str, problems: list[FieldProblem] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class MalformedJsonError(InvalidInputError):
    """Not strict UTF-8 JSON."""

    code = "malformed_json"


class TooDeepError(InvalidInputError):
    """JSON nested deeper than allowed."""

    code = "too_deep"


class InvalidRequestError(InvalidInputError):
    """What surrounds the payload is wrong."""

    code = "invalid_request"


class InvalidPayloadError(InvalidInputError):
    """The payload does not satisfy its type's schema."""

    code = "invalid_payload"


class UnknownTypeError(InvalidInputError):
    """No handler is registered for this type."""

    code = "unknown_type"


class JobRefusedError(InvalidInputError):
    """The database takes no such job: a trigger or a constraint that its operator added refuses the row."""

    code = "job_refused"


class QueueFullError(TaskhubError):
    """The queue holds as much as it may; `depth` jobs wait in it."""

    code = "queue_full"

    def __init__(self, message: str, depth: int) -> None:
        super().__init__(message)
        self.depth = depth


class JobNotFoundError(TaskhubError):
    """No job has this id."""

    code = "not_found"


class JobFinishedError(TaskhubError):
    """The job has already ended; `status` says how."""

    code = "job_finished"

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


class LeaseLostError(TaskhubError):
    """The job that a handler runs is no longer its worker's."""

    code = "lease_lost"


class SlotClosedError(TaskhubError):
    """This generation of the slot was closed by a rescuer, or only a rescue can tell what it holds: it ends."""

    code = "slot_closed"

    def __init__(self, why: str = "this slot was closed by a rescuer") -> None:
        super().__init__(why)


class TransactionStateError(TaskhubError):
    """What a handler asks of its job's transaction cannot be done in its present state; the message says why."""

    code = "transaction_state"


class UnavailableError(TaskhubError):
    """A dependency is away; the same call may succeed later."""

    code = "unavailable"


class StoreUnavailableError(UnavailableError):
    """PostgreSQL did not answer; `outcome_unknown` if the statement may still have been carried out."""

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class BlockedError(StoreUnavailableError):
    """PostgreSQL gave one statement up: it waited too long for others, or was a deadlock's victim.

    Nothing happened, unless `outcome_unknown` says that it had been sent before.
    """


class TransactionLostError(StoreUnavailableError):
    """The connection of job.transaction() was lost, and what was done on it; that is not the handler's fault."""


class SchemaOutdatedError(StoreUnavailableError):
    """The schema is older than this code, or does not allow it any more. Waited for like a server that is away."""

    code = "schema_outdated"


class BrokerUnavailableError(UnavailableError):
    """Redis did not answer, or refuses to work (full, read-only, loading)."""


class TooManyWaitersError(UnavailableError):
    """More requests wait than this process may hold."""

    code = "too_many_waiters"


class StatementError(TaskhubError):
    """PostgreSQL refused one statement for what it says; `sqlstate` tells why. The connection is fine."""

    code = "statement_refused"

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
