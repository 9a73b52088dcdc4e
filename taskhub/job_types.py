"""`handler`: declare a job type, and submit its jobs by calling what was declared, with the arguments that it takes.

    @handler("image.resize")
    def resize(job: Job, image: str, width: int) -> str: ...

    resize.submit(image="a.png", width=80)

Editors and mypy know the arguments: from the function's own parameters after the job, or else from its schema.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from taskhub.handlers import registry
from taskhub.handlers.job import Job

if TYPE_CHECKING:
    from marshmallow import Schema

P = ParamSpec("P")
R = TypeVar("R")


class Submits(Protocol):
    """A Producer, a Client, or what stands for one."""

    def submit(self, type: str, payload: Mapping[str, Any] | None = None, **options: Any) -> str: ...


class JobType(Generic[P, R]):
    """A declared function: called, it is what it was; and its jobs are submitted by its type."""

    def __init__(self, function: Callable[..., R], type: str, takes: inspect.Signature | None) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.type = type
        self._takes = takes

    def __call__(self, *arguments: Any, **named: Any) -> R:
        """Run the function here and now, as it was written."""
        return self.function(*arguments, **named)

    def submit(self, *arguments: P.args, **payload: P.kwargs) -> str:
        """Submit a job and return its id. Raises as `Producer.submit`; TypeError for arguments that are none of it."""
        return self._submit(arguments, payload)

    def submit_at(self, when: datetime, /, *arguments: P.args, **payload: P.kwargs) -> str:
        """The same, to run at that time, which bears its zone."""
        return self._submit(arguments, payload, run_at=when)

    def submit_in(self, seconds: float, /, *arguments: P.args, **payload: P.kwargs) -> str:
        """The same, to run after so many seconds."""
        return self._submit(arguments, payload, delay_s=seconds)

    def _submit(self, arguments: tuple[Any, ...], payload: Mapping[str, Any], **options: Any) -> str:
        if self._takes is not None:
            payload = self._takes.bind(*arguments, **payload).arguments
        elif arguments:
            raise TypeError(f"{self.type}: the payload's fields are given by name")
        return _way_in().submit(self.type, payload, **options)


class _Declare(Protocol):
    """Without a schema: a function of the job alone takes any payload, other parameters are the payload's fields."""

    @overload
    def __call__(self, function: Callable[[Job], R], /) -> JobType[..., R]: ...
    @overload
    def __call__(  # type: ignore[overload-cannot-match]  # it can: with a further parameter, the first does not
        self, function: Callable[Concatenate[Job, P], R], /
    ) -> JobType[P, R]: ...


@overload
def handler(
    type: str,
    *,
    schema: type[Schema] | Schema,
    queue: str = ...,
    max_attempts: int | None = ...,
    timeout_s: float | None = ...,
    priority: int = ...,
) -> Callable[[Callable[[Job], R]], JobType[..., R]]: ...
@overload
def handler(
    type: str,
    *,
    schema: Callable[P, Any],
    queue: str = ...,
    max_attempts: int | None = ...,
    timeout_s: float | None = ...,
    priority: int = ...,
) -> Callable[[Callable[[Job], R]], JobType[P, R]]: ...
@overload
def handler(
    type: str,
    *,
    schema: None = None,
    queue: str = ...,
    max_attempts: int | None = ...,
    timeout_s: float | None = ...,
    priority: int = ...,
) -> _Declare: ...


def handler(type: str, *, schema: Any = None, **options: Any) -> Any:
    """Declare the function that runs jobs of `type`; its return value (any JSON) becomes the job's result.

    schema: a marshmallow schema (class or instance), a pydantic model or a dataclass, for the payload less its `type`:
    checked on the way in and before the handler, which has the loaded object as `job.data`. None: the function's
    parameters after the job say it; a function of the job alone accepts any object.
    queue, priority (0-9, 9 first): where jobs of this type go unless the submission says otherwise.
    max_attempts, timeout_s (seconds): None takes TASKHUB_MAX_ATTEMPTS and TASKHUB_JOB_TIMEOUT_S.

    Raises HandlerError for a bad or second declaration.
    """
    declare = registry.handler(type, schema=schema, **options)

    def declared(function: Any) -> JobType[..., Any]:
        plain = function.function if isinstance(function, JobType) else function  # of two types
        declare(plain)
        return JobType(plain, type, _taken(plain, schema))

    return declared


def submit_through(way_in: Submits | None) -> None:
    """What `.submit` uses in this process: your own Producer or Client. None: a Producer of the settings."""
    global _chosen
    _chosen = way_in


def _taken(function: Any, schema: Any) -> inspect.Signature | None:
    """The arguments of `.submit`; None if any names will do."""
    if schema is None:
        if not inspect.isfunction(function):
            return None
        parameters = list(inspect.signature(function).parameters.values())[1:]
        return inspect.Signature(parameters) if parameters else None
    return inspect.signature(schema) if inspect.isclass(schema) and not hasattr(schema, "validate") else None


def _way_in() -> Submits:
    return _chosen or _own_producer()


@functools.lru_cache(maxsize=1)
def _own_producer() -> Submits:
    """Made with the first submission: a program that submits nothing opens nothing."""
    from taskhub.producer import Producer

    return Producer()


_chosen: Submits | None = None
