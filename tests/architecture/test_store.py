"""The typed store: each statement has one function, which bears its name, its parameters and its columns."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import pytest

from taskhub.domain.job import ClaimedJob
from taskhub.store.claims import ClaimAnswer
from taskhub.store.statements import FOLDER, files, statement
from tests.architecture.sources import Source, in_each_module, sources

SUBJECTS = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
RETURNS = re.compile(r"^-- returns: ((?:[^;\n]|\n--    )*)", re.MULTILINE)
TRANSITION = re.compile(r"^-- transition: ", re.MULTILINE)
ELSEWHERE = {  # run in the session of handlers, as plain SQL
    "begin_for_handler": "taskhub/store/transaction.py",
    "complete_in_transaction": "taskhub/store/transaction.py",
}


@dataclass(frozen=True)
class Use:
    """A function of a subject that runs a statement."""

    module: ModuleType
    function: ast.FunctionDef
    call: ast.Call

    @property
    def name(self) -> str:
        return str(ast.literal_eval(self.call.args[0]))

    def arguments(self) -> Iterator[str]:
        """What is given to the statement, by the names of the function's parameters and their fields."""
        for argument in self.call.args[1:]:
            if isinstance(argument, ast.Starred):
                yield from self._fields(ast.unparse(argument.value))
            elif isinstance(argument, ast.Call):  # an array of it
                yield ast.unparse(argument.args[0]).removeprefix("job.")
            else:
                yield ast.unparse(argument).removeprefix("job.")

    def _fields(self, name: str) -> Iterator[str]:
        annotation = {each.arg: each.annotation for each in self._parameters()}.get(name)
        if annotation is None:  # a tuple that the function makes of its parameters
            [made] = [
                node.value
                for node in ast.walk(self.function)
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
            ]
            if isinstance(made, ast.Tuple):
                yield from map(ast.unparse, made.elts)
                return
            assert isinstance(made, ast.Call)
            table = made.args and vars(self.module).get(ast.unparse(made.args[0]))
            if isinstance(table, dict):  # arrays by a table of the module, which bears the names
                yield from table
                return
            annotation = ast.Name(vars(self.module)[ast.unparse(made.func)].__annotations__["return"])
        fields = vars(self.module)[ast.unparse(annotation)]._fields
        yield from (f"after_{field}" if name == "after" else field for field in fields)

    def _parameters(self) -> list[ast.arg]:
        return [*self.function.args.args, *self.function.args.kwonlyargs]

    def rows(self) -> tuple[str, ...] | None:
        """The fields of the rows that are made, if any are: of several, side by side."""
        made = re.findall(r"(\w+)\._make", ast.unparse(self.function))
        return sum([vars(self.module)[name]._fields for name in made], ()) or None


def runs(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that run a named statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("run", "read"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value in files():
                yield node


def uses() -> Iterator[Use]:
    for source in sources("taskhub/store"):
        module = importlib.import_module(f"taskhub.store.{source.path.stem}")
        for function in source.functions():
            assert isinstance(function, ast.FunctionDef)
            yield from (Use(module, function, call) for call in runs(function))


def columns(name: str) -> list[str]:
    """What a statement's header says that it returns."""
    [told] = RETURNS.findall(files()[name].read_text())
    return [] if told == "nothing" else re.split(r",\s+", told.replace("\n--", ""))


USES = {use.name: use for use in uses()}


@in_each_module()
def test_statements_are_run_in_the_store_only(source: Source) -> None:
    if not source.name.startswith("taskhub/store/"):
        assert [call.lineno for call in runs(source.tree)] == []
        assert [name for name in source.imports() if name.startswith("taskhub.store.statements.")] == []


def test_every_statement_has_one_function_which_bears_its_name_in_its_subject() -> None:
    assert [name for name, times in Counter(use.name for use in uses()).items() if times > 1] == []
    assert set(USES) | set(ELSEWHERE) == set(files())
    assert {name: use.function.name for name, use in USES.items()} == {name: name for name in USES}
    assert {name: use.module.__name__.rsplit(".")[-1] for name, use in USES.items()} == {
        name: files()[name].parent.name for name in USES
    }


@pytest.mark.parametrize("name", sorted(USES))
def test_a_statement_is_given_its_parameters_in_order(name: str) -> None:
    number_is_slot = {"number": "slot"}
    assert [number_is_slot.get(given, given) for given in USES[name].arguments()] == list(statement(name).parameters)


@pytest.mark.parametrize("name", sorted(USES))
def test_rows_have_the_names_of_the_columns(name: str) -> None:
    made = USES[name].rows()
    assert made is None or list(made) == columns(name)


@pytest.mark.parametrize("name", ["settle_and_claim", "claim_from_store"])
def test_what_a_claim_did_has_columns_of_its_own_beside_the_jobs(name: str) -> None:
    assert columns(name) == [*ClaimAnswer._fields[:3], *ClaimedJob._fields]


def test_only_services_write_a_status() -> None:
    writers = {name for name, file in files().items() if TRANSITION.search(file.read_text())}
    for source in sources():
        if source.name.startswith(("taskhub/services/", "taskhub/store/")):
            continue
        imported = {name.rpartition(".")[2] for name in source.imports() if name.startswith("taskhub.store.")}
        called = {name.rpartition(".")[2] for name, _ in source.calls if name.partition(".")[0] in SUBJECTS}
        assert (imported | called) & writers == set(), source.name
