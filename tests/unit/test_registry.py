"""The registry: handlers are declared once, and wrong declarations are told."""

from __future__ import annotations

import sys
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields

from taskhub.handlers.registry import Handler, HandlerError, Registry, load, registry
from taskhub.handlers.registry import handler as declare
from tests.harness.odd_values import NumpyLike, Rude, Slippery, Trap


def nothing(job: Any) -> None:
    """A handler."""


def something(job: Any) -> None:
    """Another handler."""


def declared(**changes: Any) -> Registry:
    made = Registry()
    made.add(Handler(**{"type": "mail", "function": nothing, **changes}))
    return made


def test_a_declared_type_is_found() -> None:
    made = declared(queue="post", schema=Schema.from_dict({"to": fields.String()})())
    found = made.get("mail")
    assert found is not None
    assert (found.function, found.queue, found.priority) == (nothing, "post", 4)
    assert (made.types(), made.queues(), made.handlers()) == (["mail"], ["post"], [found])
    assert made.get("other") is None


@pytest.mark.parametrize(
    "change",
    [
        {"type": "Mail"}, {"type": ""}, {"queue": "a b"}, {"priority": 10}, {"priority": -1},
        {"max_attempts": 0}, {"max_attempts": 101}, {"timeout_s": 0}, {"timeout_s": -1}, {"timeout_s": float("nan")},
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HandlerError, match="handler"):
        declared(**change)


@pytest.mark.parametrize("option", ["type", "queue", "priority", "max_attempts", "timeout_s", "schema", "function"])
@pytest.mark.parametrize(
    "value",
    [True, "3", b"3", [3], {}, object(), Rude(SystemExit()), Trap, float("nan"), Decimal("1e99"), Slippery("3"), 1j],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_option_of_another_type_is_refused_by_its_name(option: str, value: Any) -> None:
    if (option, type(value)) in [("type", str), ("queue", str), ("function", type), ("schema", type)]:  # fit
        declared(**{option: value})
        return
    with pytest.raises(HandlerError, match=option if option != "function" else "not a function"):
        declared(**{option: value})


@pytest.mark.parametrize("number", [3, 3.0, Decimal(3), Fraction(3), NumpyLike(3)], ids=lambda n: type(n).__name__)
def test_numbers_of_any_kind_become_plain_ones(number: Any) -> None:
    handler = declared(timeout_s=number, max_attempts=number, priority=number).get("mail")
    assert handler is not None
    assert (handler.timeout_s, handler.max_attempts, handler.priority) == (3.0, 3, 3)
    assert [type(x) for x in (handler.timeout_s, handler.max_attempts, handler.priority)] == [float, int, int]


def test_a_schema_that_cannot_be_made_is_refused() -> None:
    class Broken(Schema):
        def __init__(self) -> None:
            raise KeyError("no settings")

    with pytest.raises(HandlerError, match=r"mail.*schema.*no settings"):
        declare("mail", schema=Broken)(nothing)


def test_a_type_declared_twice_is_refused_by_both_names() -> None:
    with pytest.raises(HandlerError, match=r"twice.*nothing.*something"):
        declared().add(Handler("mail", something))


def test_the_same_function_may_be_declared_again() -> None:
    known = declared()
    known.add(Handler("mail", nothing, queue="post"))
    handler = known.get("mail")
    assert handler is not None
    assert (handler.function, handler.queue) == (nothing, "post")


def test_the_built_in_types_are_always_there() -> None:
    assert {"demo", "echo", "sleep", "fail"} <= set(load(()).types())


def test_modules_of_the_working_directory_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "chores_of_this_test.py").write_text(
        "from taskhub.handlers.registry import handler\n@handler('chore.test')\ndef run(job):\n    pass\n"
    )
    assert "chore.test" in load(["chores_of_this_test"]).types()
    registry._handlers.pop("chore.test")


@pytest.mark.parametrize("source", ["import no_such_module_at_all", "1 / 0", "def broken(:"])
def test_a_module_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_of_this_test.py").write_text(source)
    sys.modules.pop("broken_of_this_test", None)
    with pytest.raises(HandlerError, match="broken_of_this_test"):
        load(["broken_of_this_test"])


async def coroutine(job: Any) -> None:
    """Returns something that is still to be awaited."""


async def stream(job: Any) -> Any:
    yield job


def generator(job: Any) -> Any:
    yield job


class AsyncCall:
    async def __call__(self, job: Any) -> None:
        """As a coroutine function."""


@pytest.mark.parametrize(
    "function",
    [
        coroutine,
        stream,
        generator,
        partial(coroutine),
        partial(partial(generator)),
        AsyncCall(),
    ],
    ids=["async", "async generator", "generator", "partial", "partial of a partial", "async call"],
)
def test_what_a_call_would_not_run_is_refused_in_one_sentence(function: Any) -> None:
    with pytest.raises(HandlerError, match="until async handlers exist, write a plain function"):
        declared(function=function)
