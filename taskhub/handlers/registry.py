"""Job types and their handlers. The API reads it to validate, the workers to run; both import the same modules."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from taskhub.domain import storable
from taskhub.domain.errors import TaskhubError
from taskhub.domain.job import DEFAULT_PRIORITY, DEFAULT_QUEUE, NAME, PRIORITIES
from taskhub.handlers.job import Job
from taskhub.handlers.running import running
from taskhub.handlers.schemas import PayloadSchema, schema_of
from taskhub.handlers.schemas.of_signature import schema_of_signature

HandlerFunction = Callable[..., Any]
F = TypeVar("F", bound=HandlerFunction)
N = TypeVar("N", int, float)


BUILT_IN = "taskhub.handlers.builtin"


class HandlerError(TaskhubError):
    """A handler is declared wrongly, or its module cannot be imported."""

    code = "handler"


@dataclass(frozen=True)
class Handler:
    """One job type: what runs it, and the defaults of its jobs. None means the settings' default."""

    type: str
    function: HandlerFunction
    schema: PayloadSchema | None = None
    queue: str = DEFAULT_QUEUE
    max_attempts: int | None = None
    timeout_s: float | None = None
    priority: int = DEFAULT_PRIORITY

    @functools.cached_property
    def run(self) -> Callable[[Job], Any]:
        """What a child calls: the function itself, behind the check of the payload if there is a schema."""
        return running(self.function, self.schema)


class Registry:
    """The known job types by name."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self.get = self._handlers.get  # by type, or None

    def add(self, handler: Handler) -> None:
        """Make a type known. Raises HandlerError for a bad declaration or a second one."""
        handler = _checked(handler)
        known = self._handlers.get(handler.type)
        if known is not None and known.function is not handler.function:
            raise HandlerError(f"handler {handler.type!r} is declared twice: {_place(known)} and {_place(handler)}")
        self._handlers[handler.type] = handler

    def types(self) -> list[str]:
        """The known types, sorted."""
        return sorted(self._handlers)

    def handlers(self) -> list[Handler]:
        return [self._handlers[job_type] for job_type in self.types()]

    def queues(self) -> list[str]:
        """The queues that the known types go to by default."""
        return sorted({handler.queue for handler in self._handlers.values()})


registry = Registry()


def handler(
    type: str,
    *,
    schema: Any = None,
    queue: str = DEFAULT_QUEUE,
    max_attempts: int | None = None,
    timeout_s: float | None = None,
    priority: int = DEFAULT_PRIORITY,
) -> Callable[[F], F]:
    """Declare the function that runs jobs of `type`; its return value (any JSON) becomes the job's result.

    schema: a marshmallow schema (class or instance), a pydantic model or a dataclass, for the payload less its `type`:
    checked on the way in and before the handler, which has the loaded object as `job.data`. None accepts any object.
    queue, priority (0-9, 9 first): where jobs of this type go unless the submission says otherwise.
    max_attempts, timeout_s (seconds): None takes TASKHUB_MAX_ATTEMPTS and TASKHUB_JOB_TIMEOUT_S.

    Raises HandlerError for a bad or second declaration. The function is returned as it is.
    """

    def declare(function: F) -> F:
        registry.add(Handler(type, function, schema, queue, max_attempts, timeout_s, priority))
        return function

    return declare


def load(modules: Iterable[str]) -> Registry:
    """Import the modules that declare handlers, the built-in ones first; returns the registry.

    The working directory is importable, as it is for `python -m`. Raises HandlerError that names the
    module whose import failed.
    """
    for module in (BUILT_IN, *modules):
        import_module(module)
    return registry


def import_module(module: str) -> None:
    """Import one module that declares handlers. Raises HandlerError that names it if that fails."""
    process = os.getpid()
    try:
        with contextlib.suppress(FileNotFoundError):  # it was removed, by a deploy perhaps
            here = str(Path.cwd())
            if here not in sys.path:
                sys.path.insert(0, here)
        importlib.import_module(module)
    except HandlerError:
        raise
    except (Exception, SystemExit) as error:
        raise HandlerError(
            f"cannot import handler module {module!r} (TASKHUB_HANDLERS): {type(error).__name__}: {error}"
        ) from error
    finally:
        if os.getpid() != process:  # the module has forked, and this is the copy: there must be no second of us
            os._exit(1)


def _checked(declared: Handler) -> Handler:
    """The declaration with its numbers as such. Raises HandlerError that names the option at fault, whatever it is."""
    name = f"handler {storable.shown(declared.type)}"
    if not (type(declared.type) is str and NAME.fullmatch(declared.type)):
        raise HandlerError(f"{name}: a type is 1 to 64 of a-z 0-9 _ . - and begins with a letter or digit")
    if not (type(declared.queue) is str and NAME.fullmatch(declared.queue)):
        raise HandlerError(f"{name}: queue {storable.shown(declared.queue)} is not 1 to 64 of a-z 0-9 _ . -")
    if not callable(declared.function):
        raise HandlerError(f"{name}: {storable.shown(declared.function)} is not a function")
    if _is_deferred(declared.function):
        raise HandlerError(f"{name}: it is async, or a generator: until async handlers exist, write a plain function")
    return replace(
        declared,
        schema=_schema(name, declared),
        priority=_number(name, "priority", storable.whole, declared.priority, min(PRIORITIES), max(PRIORITIES)),
        max_attempts=_number(name, "max_attempts", storable.whole, declared.max_attempts, 1, 100, may_lack=True),
        timeout_s=_number(name, "timeout_s", storable.seconds, declared.timeout_s, 0.001, 7 * 86_400, may_lack=True),
    )


def _schema(name: str, declared: Handler) -> PayloadSchema | None:
    """The one that is given; without one, what the function's own parameters say."""
    given = declared.schema
    try:
        return schema_of_signature(declared.function) if given is None else schema_of(given)
    except Exception as error:
        what = "its parameters" if given is None else f"schema {storable.shown(given)}"
        raise HandlerError(f"{name}: {what}: {storable.text(error, 300)}") from error


def _is_deferred(function: Any) -> bool:
    """True if a call would run nothing, but return something that is still to be run."""
    while isinstance(function, functools.partial):
        function = function.func
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    calls = (function, getattr(type(function), "__call__", None))  # noqa: B004 (the method itself is looked at)
    return any(is_kind(call) for call in calls for is_kind in kinds)


def _number(
    name: str, option: str, read: Callable[[Any, N, N], N], value: Any, low: N, high: N, may_lack: bool = False
) -> Any:
    if value is None and may_lack:
        return None
    try:
        return read(value, low, high)
    except ValueError as error:
        raise HandlerError(f"{name}: {option}={error}") from None


def _place(handler: Handler) -> str:
    function = handler.function  # any callable, which need not have a name
    return f"{function.__module__}.{getattr(function, '__qualname__', storable.class_name(function))}"
