"""Sizes, docstrings, exceptions: what keeps the code readable, held by machine."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import taskhub
from tests.architecture.sources import Source, in_each_module, sources

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


# What only a library calls, by the file in which it is told to.
CALLED_BY_LIBRARIES = {
    "taskhub/api/framing.py": {"unread"},
    "taskhub/api/gunicorn_worker.py": {"finish_request", "_cap_keepalive"},
    "taskhub/cli/main.py": {"list_commands", "get_command"},
    "taskhub/logs/output.py": {"reconfigure"},
    "taskhub/logs/setup.py": {"emit"},
    "taskhub/metrics/counts_file.py": {"read_value", "write_value"},
}
READ_BY_LIBRARIES = {"taskhub/api/gunicorn_conf.py"}
CALLED_BY_USERS = {
    "taskhub/producer.py": {"submit_many"},
    "taskhub/job_types.py": {"submit_at", "submit_in"},
    "taskhub/handlers/job.py": {"remaining_s", "should_stop"},
}


def test_nothing_lives_for_tests_only() -> None:
    """Each name of ours is used by a line of ours, unless it is public, or called by a library."""
    words = Counter(word for source in sources() for word in re.findall(r"\w+", code_of(source)))
    unused = {
        (source.name, name)
        for source in sources()
        for name in defined(source)
        if words[name] == 1 and source.name not in READ_BY_LIBRARIES and name not in taskhub.__all__
    }
    assert (
        sorted(
            unused - {(file, name) for file, names in (CALLED_BY_LIBRARIES | CALLED_BY_USERS).items() for name in names}
        )
        == []
    )


def code_of(source: Source) -> str:
    """Without docstrings and comments: being spoken of is not being used."""
    return ast.unparse(without_docstrings(ast.parse(source.text)))


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [line for line in node.body if not is_text(line)] or [ast.Pass()]
    return tree


def is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def defined(source: Source) -> Iterator[str]:
    """Functions, methods, classes and constants; not what a decorator hands to a library."""
    ours = {"property", "staticmethod", "classmethod", "dataclass(frozen=True)", "contextmanager", "cached_property"}
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("__"):
            handed_over = {ast.unparse(mark) for mark in node.decorator_list} - ours
            yield from () if handed_over else (node.name,)
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id


def handlers(source: Source) -> Iterator[ast.ExceptHandler]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.ExceptHandler))


def is_bare_or_broad_and_silent(node: ast.ExceptHandler) -> bool:
    if node.type is None:
        return True
    broad = ast.unparse(node.type) in ("Exception", "BaseException")
    return broad and all(isinstance(line, (ast.Pass, ast.Continue)) for line in node.body)
