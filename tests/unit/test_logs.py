"""Logs: what a line holds, and what it can never do."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from taskhub import logs
from taskhub.logs import loggers
from taskhub.logs.console_lines import ConsoleLines
from taskhub.logs.json_lines import JsonLines
from taskhub.logs.process_log import ProcessLog
from taskhub.settings.fields import Settings

HOSTILE = "one\ntwo\r\x1b[31m\x00\x7f\x85\x9b\u2028\u202e\ud800"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\ud800-\udfff]")


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    root, saved = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    with (tmp_path / "log").open("w+", encoding="utf-8", newline="\n") as opened:
        yield opened
    root.handlers[:], root.level = saved
    loggers.use(None)


@pytest.fixture
def configured(stream: TextIO) -> Callable[..., Callable[[], list[str]]]:
    """Configures, and returns a function that reads the lines."""

    def configure(**settings: str) -> Callable[[], list[str]]:
        logs.configure(
            Settings.load({f"TASKHUB_LOG_{name.upper()}": text for name, text in settings.items()}), stream.fileno()
        )
        return lambda: Path(stream.name).read_text(encoding="utf-8").split("\n")[:-1]

    return configure


def records(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_a_record_is_one_object_with_the_agreed_keys_first(configured: Any) -> None:
    lines = configured()

    logs.get_logger("taskhub.child").info("job.completed", extra={"job_id": "a", "type": "demo", "attempt": 1})

    [record] = records(lines())
    assert list(record) == ["timestamp", "level", "event", "message", "job_id", "type", "attempt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("timestamp"))
    assert record == {
        "level": "info",
        "event": "job.completed",
        "message": "job.completed",
        "job_id": "a",
        "type": "demo",
        "attempt": 1,
    }


def test_the_text_is_the_message(configured: Any) -> None:
    lines = configured()

    logs.get_logger("supervisor").warning("child.exited", extra={"text": "slot 1 died", "slot": 1})

    [record] = records(lines())
    assert (record["event"], record["message"], record["level"]) == ("child.exited", "slot 1 died", "warning")
    assert "text" not in record


def test_other_libraries_get_their_name_as_event(configured: Any) -> None:
    lines = configured()

    logging.getLogger("gunicorn.error").warning("Booting %s", 7)

    [record] = records(lines())
    assert (record["event"], record["message"]) == ("gunicorn.error", "Booting 7")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_value_can_end_a_line_or_steer_a_terminal(configured: Any, log_format: str) -> None:
    lines = configured(format=log_format)

    logs.get_logger("taskhub").info("x", extra={"text": HOSTILE, HOSTILE: HOSTILE, "deep": {"a": [HOSTILE]}})

    [line] = lines()
    assert not CONTROL.search(line)


def test_hostile_text_survives_in_json_as_it_was(configured: Any) -> None:
    lines = configured()

    logs.get_logger("taskhub").info("x", extra={"text": HOSTILE})

    assert records(lines())[0]["message"] == HOSTILE


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "extra",
    [
        {"text": "é\x01" * 9000},
        {f"k{n}": "v" * 100 for n in range(300)},
        {"numbers": list(range(9000))},
        {"k" * 9000: 1},
    ],
)
def test_no_line_is_longer_than_4_kib(configured: Any, log_format: str, extra: dict[str, Any]) -> None:
    lines = configured(format=log_format)

    logs.get_logger("taskhub").info("big.one", extra=extra)

    [line] = lines()
    assert len(line.encode()) < logs.MAX_LINE_BYTES
    assert "big.one" in line


def test_a_long_traceback_keeps_its_beginning_and_its_end(configured: Any) -> None:
    def deeper(levels: int) -> float:
        return deeper(levels - 1) + 1 if levels % 2 else other(levels - 1)

    def other(levels: int) -> float:
        return 1 / 0 if levels < 0 else deeper(levels - 1)

    lines = configured()
    try:
        deeper(90)
    except ZeroDivisionError:
        logs.get_logger("taskhub").exception("job.failed")

    [record] = records(lines())
    assert record["traceback"].startswith("Traceback (most recent call last)")
    assert record["traceback"].endswith("ZeroDivisionError: division by zero")
    assert len(record["traceback"].encode()) <= logs.MAX_TRACEBACK_BYTES


def test_a_traceback_on_the_console_is_set_in(configured: Any) -> None:
    lines = configured(format="console")
    try:
        raise ValueError("first\nforged")
    except ValueError:
        logs.get_logger("taskhub").exception("job.failed")

    first, *rest = lines()
    assert "job.failed" in first
    assert rest[-2:] == ["    | ValueError: first", "    | forged"]


def circle() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize("value", [2**80, float("nan"), float("inf"), b"\xff", object(), {1: {2}}, circle()])
def test_values_that_json_does_not_know_are_shown_anyhow(configured: Any, value: Any) -> None:
    lines = configured()

    logs.get_logger("taskhub").info("x", extra={"value": value, "job_id": "a"})

    [record] = records(lines())
    assert (record["event"], record["job_id"]) == ("x", "a")
    assert "value" in record


def test_the_level_that_is_set_decides(configured: Any) -> None:
    lines = configured(level="warning")

    for level in ("debug", "info", "warning", "error"):
        getattr(logs.get_logger("taskhub"), level)(f"event.{level}")

    assert [record["event"] for record in records(lines())] == ["event.warning", "event.error"]


def test_the_console_has_colours_only_on_a_terminal(stream: TextIO, configured: Any) -> None:
    lines = configured(format="console")
    logs.get_logger("taskhub").info("child.started", extra={"slot": 1, "why": "a b"})

    assert b"\x1b[36m" in ConsoleLines(colours=True).line(0, "info", "x", "x", {})
    assert lines()[0].endswith(' child.started slot=1 why="a b"')


def test_each_record_is_one_write_also_from_many_processes() -> None:
    readable, writable = os.pipe()
    fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, 1 << 20)  # room for all: a reader that is late loses none
    with open(readable, encoding="utf-8") as reader:
        process_log = ProcessLog(logging.INFO, JsonLines(), writable)
        children = [_fork_a_logger(process_log, name) for name in "abcd"]
        os.close(writable)
        process_log.close()
        lines = reader.read().splitlines()
    for child in children:
        assert os.waitpid(child, 0)[1] == 0

    written = [json.loads(line)["message"] for line in lines]
    assert sorted(written) == sorted(name * 1500 for name in "abcd" for _ in range(10))


def _fork_a_logger(process_log: ProcessLog, name: str) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for _ in range(10):
            process_log.tell("info", "told", name * 1500, {})
        status = 0
    finally:
        os._exit(status)
