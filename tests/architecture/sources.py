"""The project's own Python files, parsed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("taskhub", "supervisor")


@dataclass(frozen=True)
class Source:
    """One module."""

    path: Path

    @property
    def name(self) -> str:
        """Its path from the project's root, as `taskhub/store/connection.py`."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[str]:
        """The modules that it imports anywhere, in full; `from x import y` as x.y."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: relative import"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    @cached_property
    def calls(self) -> list[tuple[str, int]]:
        """Dotted names that are called or read as attributes, with their lines."""
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, (ast.Attribute, ast.Name)))
        return [(ast.unparse(node), node.lineno) for node in nodes]

    @cached_property
    def strings(self) -> list[tuple[str, int]]:
        """String literals that are not docstrings, with their lines."""
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(self.tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        constants = (node for node in ast.walk(self.tree) if isinstance(node, ast.Constant))
        return [
            (node.value, node.lineno)
            for node in constants
            if isinstance(node.value, str) and id(node) not in docstrings
        ]

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node


@cache
def sources(*folders: str) -> list[Source]:
    """The modules below these folders of the project (the packages, without any)."""
    found = [path for folder in folders or PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return [Source(path) for path in found]


def in_each_module(*folders: str) -> Callable[[Callable[[Source], None]], Callable[[], None]]:
    """Makes a check of one module one test of all of them, which names those that fail."""

    def decorate(check: Callable[[Source], None]) -> Callable[[], None]:
        @wraps(check)
        def test() -> None:
            wrong = {}
            for source in sources(*folders):
                try:
                    check(source)
                except AssertionError as error:
                    wrong[source.name] = str(error)
            assert wrong == {}

        del test.__wrapped__  # type: ignore[attr-defined]  # or pytest looks for a fixture `source`
        return test

    return decorate
