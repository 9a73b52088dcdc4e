"""docs/events.md explains each event of the log, and nothing else."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.architecture.sources import ROOT, Source, sources

EVENT = re.compile(r"[a-z]+\.[a-z_]+|request")
OUTAGE = ("warning", "info")  # what is lost, what is back
LEVELS = {"debug", "info", "warning", "error", "exception", "log"}
BY_NAME = {"JOB_EVENT", "EVENT"}  # constants of the logs' room


def documented() -> dict[str, str]:
    """The levels that the page gives, by event."""
    levels: dict[str, str] = {}
    for line in (ROOT / "docs/events.md").read_text().splitlines():
        if line.startswith("| `"):
            names, level = line.split(" | ")[:2]
            found = re.findall(r"`([a-z._]+)`", names)
            assert not levels.keys() & set(found), f"twice on the page: {found}"
            levels |= dict.fromkeys(found, level)
    return levels


def told_by(call: ast.Call) -> Iterator[tuple[str, str]]:
    """The event that a call of a logger names outright, and the method."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS:
        named = [a for a in call.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if named and EVENT.fullmatch(named[0].value):
            yield named[0].value, call.func.attr


def told(source: Source) -> Iterator[tuple[str, str]]:
    """Events and the methods that tell them, as far as a source names them outright."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield from told_by(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Outage":
            yield from zip((ast.literal_eval(a) for a in node.args[1:3]), OUTAGE, strict=True)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in BY_NAME:
            yield ast.literal_eval(node.value), "log"


def test_each_event_is_on_the_page_at_its_level() -> None:
    methods = defaultdict(set)
    for source in sources():
        for event, method in told(source):
            methods[event].add(method)
    page = documented()
    assert len(methods) > 80
    assert sorted(methods.keys() - page.keys()) == []
    levels = {(event, by.replace("exception", "error")) for event, found in methods.items() for by in found - {"log"}}
    assert sorted((event, level) for event, level in levels if level not in page[event]) == []


def test_the_page_explains_nothing_that_is_never_told() -> None:
    strings = {text for source in sources() for text, _ in source.strings}
    by_status = {"job.retried", "job.failed", "job.cancelled", "job.rescued", "job.completed"}  # put together
    assert documented().keys() - strings == by_status - strings


def test_each_line_says_a_sentence_and_not_only_its_event() -> None:
    """`text` is the message: a call that gives its fields outright gives it, too, and none gives no fields."""
    silent = []
    for source in sources():
        for node in ast.walk(source.tree):
            if not (isinstance(node, ast.Call) and list(told_by(node))):
                continue
            fields = next((word.value for word in node.keywords if word.arg == "extra"), None)
            names = [ast.unparse(key) for key in fields.keys if key] if isinstance(fields, ast.Dict) else None
            is_merged = isinstance(fields, ast.Dict) and None in fields.keys  # of others that are made elsewhere
            if fields is None or (names is not None and "'text'" not in names and not is_merged):
                silent.append(f"{source.name}:{node.lineno}")
    assert silent == []
