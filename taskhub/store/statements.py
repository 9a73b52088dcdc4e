"""Named SQL statements, read once from the files beside this module.

A file is `sql/<subject>/<name>.sql`: comment lines that say what it does, a line `-- params: name type, ...`, a
line `-- returns: column, ...; in which rows` (or `nothing`), then one statement that uses `:name`. It becomes a
server-side prepared statement of the same name, whose arguments are given in the order of `params`. Only the function
of that name in `store/<subject>.py` runs it. A name occurs once, whatever the subject.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

FOLDER = Path(__file__).with_name("sql")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_UNUSED = "\x1f"  # JSON does not hold it, nor does any text that can be printed
_NUMBERS = frozenset({int, float, type(None)})
_PARAMS_LINE = re.compile(r"^-- params:(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Statement:
    """One statement: what prepares it, what executes it with %s arguments, and itself with %s in order of use."""

    name: str
    prepare: str
    execute: str
    inline: str
    parameters: tuple[str, ...]


@cache
def files() -> dict[str, Path]:
    """The statements' files, by name."""
    return {file.stem: file for file in sorted(FOLDER.rglob("*.sql"))}


def load_all() -> None:
    """Read every statement now: from here on none of the files is needed."""
    for name in files():
        statement(name)


@cache
def statement(name: str) -> Statement:
    """The statement of this name. One that there is not is a bug: KeyError."""
    text = files()[name].read_text(encoding="utf-8")
    header = _PARAMS_LINE.search(text)
    if header is None:
        raise ValueError(f"{name}.sql has no '-- params:' line")
    declared = [item.split() for item in header.group(1).split(",") if item.strip()]
    names = tuple(item[0] for item in declared)
    types = ", ".join(" ".join(item[1:]) for item in declared)
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    numbered = _PARAMETER.sub(lambda match: f"${names.index(match.group(1)) + 1}", body)
    return Statement(
        name=name,
        prepare=f"PREPARE {name}{f'({types})' if types else ''} AS {numbered}",
        execute=f"EXECUTE {name}{'(' + ', '.join(['%s'] * len(names)) + ')' if names else ''}",
        inline=_PARAMETER.sub("%s", body.replace("%", "%%")),
        parameters=names,
    )


def uuid_array(ids: Sequence[str]) -> str:
    """A PostgreSQL array literal of ids (which need no quoting)."""
    return "{" + ",".join(ids) + "}"


def text_array(items: Sequence[str | None]) -> str:
    """A PostgreSQL array literal of any texts."""
    if items and None not in items:
        joined = _UNUSED.join(cast("Sequence[str]", items))
        if joined.count(_UNUSED) == len(items) - 1:  # then all can be escaped at once
            return "{" + _quoted(joined).replace(_UNUSED, '","') + "}"
    return "{" + ",".join(["NULL" if item is None else _quoted(item) for item in items]) + "}"


def number_array(items: Sequence[float | None]) -> str:
    """A PostgreSQL array literal of finite numbers. Raises ValueError for anything else: repr of it might be SQL."""
    if not _NUMBERS.issuperset(map(type, items)):
        raise ValueError("an array of numbers holds something else")
    joined = ",".join(["NULL" if item is None else repr(item) for item in items])
    if "n" in joined:
        raise ValueError("an array of numbers holds one that is not finite")
    return "{" + joined + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
