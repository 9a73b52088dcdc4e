"""Named statements: every file can be read, and says what it takes and gives."""

from __future__ import annotations

import re

import pytest

from taskhub.store.statements import FOLDER, files, number_array, statement, text_array, uuid_array

NAMES = sorted(files())


def test_there_are_statements_and_each_has_a_name_of_its_own() -> None:
    assert "settle_and_claim" in NAMES
    assert len(NAMES) == len(list(FOLDER.glob("*/*.sql"))), "a name occurs twice, or a file lies in no subject"


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_named_described_and_uses_what_it_declares(name: str) -> None:
    text = files()[name].read_text()
    lines = text.splitlines()
    assert re.fullmatch(r"-- [A-Z].*[.:?]", lines[0]), "the first line says what it does, as a sentence"
    assert sum(line.startswith("-- params:") for line in lines) == 1
    assert sum(line.startswith("-- returns:") for line in lines) == 1
    made = statement(name)
    assert ":" not in re.sub(r"::\w+|'[^']*'", "", made.prepare), "a parameter was not replaced"
    used = {int(number) for number in re.findall(r"\$(\d+)", made.prepare)}
    assert used == set(range(1, len(made.parameters) + 1)), "a declared parameter is not used"
    assert made.execute.count("%s") == len(made.parameters)


def test_an_undeclared_parameter_is_a_bug_that_shows_at_once() -> None:
    with pytest.raises(KeyError):
        statement("no_such_statement")


def test_arrays_of_nothing() -> None:
    assert uuid_array([]) == text_array([]) == number_array([]) == "{}"


def test_arrays_know_null() -> None:
    assert text_array([None, "NULL", ""]) == '{NULL,"NULL",""}'
    assert number_array([1.5, None]) == "{1.5,NULL}"
