"""What a handler prints becomes lines of the log, whole ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskhub import logs
from taskhub.logs.bounded import MAX_LINES_PER_S
from taskhub.logs.output import Output
from taskhub.settings.fields import Settings


def told(folder: Path, print_it: Callable[[], object]) -> list[dict[str, Any]]:
    """The lines of a process whose handler does this, after its job has ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            logs.configure(Settings.load({}), os.open(folder / "log", os.O_WRONLY | os.O_CREAT))
            output = Output(lambda: {"job_id": "a"})
            output.capture()
            print_it()
            output.job_ends()
            status = 0
        except BaseException:
            (folder / "error").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, (folder / "error").read_text()
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def in_a_thread() -> None:
    thread = threading.Thread(target=lambda: print("x", end=""))
    thread.start()
    thread.join()


PRINTED: dict[str, tuple[Callable[[], object], list[str]]] = {
    "a line": (lambda: print("x"), ["x"]),
    "no end": (lambda: print("x", end="", flush=True), ["x"]),
    "in pieces": (lambda: [print(c, end="") for c in "ab\ncd"], ["ab", "cd"]),
    "to the error stream": (lambda: print("x", file=sys.stderr), ["x"]),
    "to the first stream": (lambda: sys.__stdout__.write("x\n"), ["x"]),  # type: ignore[union-attr]
    "bytes": (lambda: sys.stdout.buffer.write(b"a\xffb\n"), ["a\\xffb"]),
    "lines": (lambda: sys.stdout.writelines(["a\n", "b"]), ["a", "b"]),
    "long": (lambda: print("z" * 7000, end=""), ["z" * 3000, "z" * 3000, "z" * 1000]),
    "of a thread": (in_a_thread, ["x"]),
    "steering": (lambda: print("a\r\x1b[31m"), ["a\r\x1b[31m"]),
    "surrogate": (lambda: print("\ud800"), ["\ud800"]),
    "after a close": (lambda: (sys.stdout.close(), print("x")), ["x"]),
    "set up again": (lambda: (sys.stdout.reconfigure(encoding="ascii"), print("é")), ["é"]),  # type: ignore[attr-defined]
    "like a log line": (lambda: print('{"timestamp": 1, "event": "job.completed"}'), None),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", PRINTED)
def test_what_is_printed_is_told_in_whole_lines(name: str, tmp_path: Path) -> None:
    print_it, wanted = PRINTED[name]

    found = told(tmp_path, print_it)

    assert {(record["event"], record["job_id"]) for record in found} == {("job.output", "a")}
    if wanted is not None:
        assert [record["message"] for record in found] == wanted


def test_a_flood_is_bounded_and_counted(tmp_path: Path) -> None:
    def flood() -> None:
        for number in range(20_000):
            print(number)

    found = told(tmp_path, flood)

    assert len(found) < 20_000 / 4
    assert len(found) >= MAX_LINES_PER_S


def test_the_streams_can_be_given_to_other_programs(tmp_path: Path) -> None:
    def run() -> None:
        assert (sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty()) == (1, 2, False)
        subprocess.run(["true"], stdout=sys.stdout, stderr=sys.stderr, check=True)
        print("x")

    assert [record["message"] for record in told(tmp_path, run)] == ["x"]
