"""Job types that write to the descriptors 1 and 2 past Python's streams, as libraries and sub-processes do."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from typing import Any

from tests.harness.handlers import recorded

WAYS = ("write", "system", "process", "library")
_libc = ctypes.CDLL(None)


@recorded("raw.half")
def half(job: Any) -> None:
    """Write a `text` without an end in one `way` to `number`, log lines meanwhile, and stay for a moment."""
    way, text, number = job.payload["way"], job.payload["text"], job.payload["number"]
    for _ in range(20):
        job.log.info("between")
    if way == "write":
        os.write(number, text.encode())
    elif way == "system":
        os.system(f"printf {text} >&{number}")
    elif way == "process":
        subprocess.run(["sh", "-c", f"printf {text} >&{number}"], check=True)
    else:
        _libc.dprintf(number, b"%s", text.encode())
    for _ in range(20):
        job.log.info("between")
    time.sleep(0.1)


@recorded("raw.twice")
def twice(job: Any) -> None:
    """Write `text`, and once more when there is a file."""
    os.system(f"printf {job.payload['text']}-1")
    ends = time.monotonic() + 20
    while not os.path.exists(job.payload["file"]) and time.monotonic() < ends:
        time.sleep(0.01)
    subprocess.run(["sh", "-c", f"printf {job.payload['text']}-2"], check=True)
    time.sleep(0.1)


@recorded("raw.flood")
def flood(job: Any) -> int:
    """Write so many `bytes`; a `line` is so long."""
    left, line = job.payload["bytes"], b"f" * job.payload["line"] + b"\n"
    while left > 0:
        left -= os.write(1, (line * (65_536 // len(line) + 1))[: min(left, 65_536)])
    return os.getpid()


@recorded("raw.segfault")
def segfault(job: Any) -> None:
    """Die as a broken library does, with a dump of the stacks."""
    import faulthandler

    faulthandler.enable()
    ctypes.string_at(0)
