"""What others do to the logging module, or hand to it, neither silences our lines nor breaks them."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import sys
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from taskhub import logs
from taskhub.handlers.job import Job
from taskhub.handlers.raises import JobTimeout
from taskhub.settings.fields import Settings
from tests.waiting import stretched

Records = list[dict[str, Any]]
OURS = logs.get_logger("taskhub.child")


def job() -> Job:
    return Job(
        id="a", type="demo", queue="default", payload={}, attempt=1, max_attempts=2, lease="l", execution=None  # type: ignore[arg-type]
    )  # fmt: skip


def records_of(folder: Path, do: Callable[[], object]) -> Records:
    """What a process tells that sets its log up and does this; each line is parsed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            logs.configure(Settings.load({}), os.open(folder / "log", os.O_WRONLY | os.O_CREAT))
            sys.stderr = (folder / "errors").open("w")
            do()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, (folder / "errors").read_text()
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


class Refusing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("no")


class Broken(logging.Logger):
    def handle(self, record: logging.LogRecord) -> None:
        raise RuntimeError("no")


def broken_factory(*_arguments: Any, **_options: Any) -> logging.LogRecord:
    raise RuntimeError("no")


def own_configuration() -> None:
    mine: dict[str, Any] = {"class": "logging.NullHandler"}
    logging.config.dictConfig({"version": 1, "handlers": {"m": mine}, "root": {"handlers": ["m"], "level": "CRITICAL"}})


def everything_off() -> None:
    for logger in [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]:
        logger.handlers.clear()
        logger.disabled, logger.propagate, logger.level = True, False, 100
        logger.addFilter(Refusing())


def warnings_as_records() -> None:
    warnings.simplefilter("always")
    logging.captureWarnings(True)
    warnings.warn("x", stacklevel=1)


HOSTILE: dict[str, Callable[[], object]] = {
    "a configuration of its own": own_configuration,
    "everything off": everything_off,
    "disabled": lambda: logging.disable(logging.CRITICAL),
    "shut down": logging.shutdown,
    "another class of loggers": lambda: logging.setLoggerClass(Broken),
    "a factory that raises": lambda: logging.setLogRecordFactory(broken_factory),
    "forced again": lambda: logging.basicConfig(force=True, level=100),
    "other names of levels": lambda: [logging.addLevelName(level, "X") for level in range(60)],
    "no manager": lambda: logging.root.manager.loggerDict.clear(),
    "warnings as records": warnings_as_records,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_silences_our_lines(name: str, tmp_path: Path) -> None:
    def do() -> None:
        HOSTILE[name]()
        OURS.warning("job.failed", extra={"job_id": "a"})
        job().log.info("resizing %s", "it", extra={"width": 3})
        logs.log_all(OURS, logging.INFO, "job.completed", {"type": "echo"}, [{"job_id": "b"}])
        try:
            raise ValueError("boom")
        except ValueError:
            job().log.exception("no")

    told = [record for record in records_of(tmp_path, do) if record["event"].startswith("job.")]

    assert [record["event"] for record in told] == ["job.failed", "job.log", "job.completed", "job.log"]
    assert (told[1]["message"], told[1]["width"], told[1]["job_id"], told[1]["type"]) == ("resizing it", 3, "a", "demo")
    assert told[3]["traceback"].endswith("ValueError: boom")


class Raising:
    """A value whose every word is an error."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def _raise(self, *_: Any) -> Any:
        raise self._error("no")

    __str__ = __repr__ = __iter__ = __len__ = __bool__ = __eq__ = __getitem__ = items = keys = _raise
    __hash__ = object.__hash__


class LyingText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __len__ = encode = __str__  # type: ignore[assignment]


class LyingDict(dict[Any, Any]):
    def items(self) -> Any:
        raise GeneratorExit

    __iter__ = __len__ = __getitem__ = __str__ = items


class Nameless(type):
    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit(name)


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    return deep


VALUES: dict[str, Any] = {
    "raising": Raising(ValueError),
    "leaving": Raising(SystemExit),
    "generator": Raising(GeneratorExit),
    "lying text": LyingText("x"),
    "lying dictionary": LyingDict(a=1),
    "nameless": Nameless("N", (), {"__str__": lambda self: 1 / 0})(),
    "deep": _deep(),
    "wide": list(range(10**5)),
    "long": "é" * 10**7,
    "bytes": b"\xff" * 10**7,
    "huge": 1 << 10**6,
    "surrogate": "\ud800",
    "nan": [float("nan"), {"x": float("-inf")}],
    "keys": {1: 1, None: 2, (1, 2): 3, Raising(ValueError): 4, "\ud800": 5},
    "types": [Decimal(1), {1}, object, Exception, len, OrderedDict(a=1), True, None, 2**63, -(2**63), 2**64],
    "steering": "one\ntwo\r\x1b[31m\x00\x7f\x85\u2028",
    "text that is none": type("T", (), {"__str__": lambda self: 5})(),
}


@pytest.mark.parametrize("name", VALUES)
def test_any_value_is_shown_or_replaced(name: str, tmp_path: Path) -> None:
    value = VALUES[name]

    def do() -> None:
        began_s = time.monotonic()
        job().log.info(value, extra={"value": value, "job_id": value, "event": value})
        job().log.info("%s %d", value, extra=value)
        logging.getLogger("theirs").warning("said", extra={"value": value})
        logging.getLogger("theirs").warning(value)
        OURS.warning("job.failed", extra={"text": value, "value": value})
        try:
            raise ValueError(value)
        except ValueError:
            OURS.exception("job.failed")
        assert time.monotonic() - began_s < stretched(2)

    found = records_of(tmp_path, do)

    assert [record["event"] for record in found] == [
        "job.log",
        "job.log",
        "theirs",
        "theirs",
        "job.failed",
        "job.failed",
    ]
    assert [record["job_id"] for record in found[:2]] == ["a", "a"]
    assert "value" in found[0]


def test_a_field_cannot_take_the_place_of_what_each_line_has(tmp_path: Path) -> None:
    forged = {"timestamp": 1, "level": "x", "event": "job.completed", "message": "x", "job_id": "b"}

    [record] = records_of(tmp_path, lambda: job().log.warning("said", extra=forged))

    assert (record["level"], record["event"], record["message"], record["job_id"]) == (
        "warning",
        "job.log",
        "said",
        "a",
    )
    assert (record["extra_event"], record["extra_job_id"]) == ("job.completed", "b")


def test_an_interrupt_of_the_job_is_passed_on_to_the_handler(tmp_path: Path) -> None:
    def do() -> None:
        with pytest.raises(JobTimeout):
            job().log.info("x", extra={"value": Raising(JobTimeout)})
        job().log.info("y")

    assert [record["message"] for record in records_of(tmp_path, do)] == ["y"]


def test_a_traceback_reads_no_file(tmp_path: Path) -> None:
    opened: list[str] = []

    def do() -> None:
        sys.addaudithook(lambda name, arguments: opened.append(str(arguments[0])) if name == "open" else None)
        try:
            json.loads("{")
        except ValueError as error:
            try:
                raise KeyError("x") from error
            except KeyError:
                OURS.exception("job.failed")
        assert opened == []

    [record] = records_of(tmp_path, do)
    assert "direct cause" in record["traceback"]
    assert "in raw_decode" in record["traceback"]


def test_a_program_that_has_not_set_our_log_up_finds_our_words_in_its_own(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        OURS.warning("redis.lost", extra={"text": "go\nne\udcff", "name": "no field of a record may bear this name"})
        logs.log_all(OURS, logging.INFO, "job.completed", {"type": "echo"}, [{"job_id": "b"}])
        job().log.info("said %s", 1, extra={"width": 3, "args": 4})

    assert [record.getMessage() for record in caplog.records] == [
        "redis.lost: go\\u000ane\\udcff",
        "job.completed",
        "said 1",
    ]
    assert caplog.records[2].__dict__["width"] == 3
