"""Sizes, docstrings, exceptions: what keeps the code readable, held by machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.architecture.sources import Source, in_each_module

MODULE_LINES = 250
FUNCTION_LINES = 40
ARGUMENTS = 6  # of what is made: more are several things
VALUES = {"taskhub/handlers/job.py"}  # what a handler gets is a value with many fields

everywhere = in_each_module()


@everywhere
def test_modules_are_short_and_say_what_they_are_for(source: Source) -> None:
    assert source.text.count("\n") <= MODULE_LINES
    if source.text.strip():
        assert ast.get_docstring(source.tree), "a module begins with a sentence of purpose"


@everywhere
def test_functions_are_short(source: Source) -> None:
    def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        return (function.end_lineno or 0) - function.lineno + 1

    assert [f"{f.name}: {lines(f)}" for f in source.functions() if lines(f) > FUNCTION_LINES] == []


@everywhere
def test_constructors_take_few_parts(source: Source) -> None:
    def parts(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        return len(function.args.args) - 1 + len(function.args.kwonlyargs)

    made = [function for function in source.functions() if function.name == "__init__"]
    assert source.name in VALUES or [f.lineno for f in made if parts(f) > ARGUMENTS] == []


@everywhere
def test_no_banners_divide_a_class(source: Source) -> None:
    """A class that needs headings is several."""
    assert re.findall(r"^    # [A-Z][a-z ]+$", source.text, re.M) == []


@everywhere
def test_every_module_postpones_annotations(source: Source) -> None:
    if any(True for _ in source.functions()):
        assert "from __future__ import annotations" in source.text


@everywhere
def test_no_exception_is_swallowed_unseen(source: Source) -> None:
    assert [f"line {node.lineno}" for node in handlers(source) if is_bare_or_broad_and_silent(node)] == []


@everywhere
def test_nothing_is_left_to_do(source: Source) -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
    assert [mark for mark in marks if mark in source.text] == []


def handlers(source: Source) -> Iterator[ast.ExceptHandler]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.ExceptHandler))


def is_bare_or_broad_and_silent(node: ast.ExceptHandler) -> bool:
    if node.type is None:
        return True
    broad = ast.unparse(node.type) in ("Exception", "BaseException")
    return broad and all(isinstance(line, (ast.Pass, ast.Continue)) for line in node.body)
