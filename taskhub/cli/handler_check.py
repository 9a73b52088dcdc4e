"""Do the modules with handlers import? Tried in a process that is thrown away, as the worker does before it forks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from taskhub.cli.handler_syntax import HandlersError, require_syntax
from taskhub.handlers.import_check import WELL, Report

_REPORT_BYTES = 2**20
_SAID_CHARACTERS = 4000


def imported(modules: tuple[str, ...], within_s: float) -> Report:
    """What importing them finds. Raises HandlersError if that fails, as the worker would."""
    require_syntax(modules)
    report = os.memfd_create("report", 0)
    os.ftruncate(report, _REPORT_BYTES)
    command = [sys.executable, "-m", "supervisor", "--trial", str(report)]
    try:
        with tempfile.TemporaryFile() as output:
            ended = subprocess.run(  # noqa: S603 (our own program)
                command,
                pass_fds=[report],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=within_s,
                check=False,
            )
            output.seek(0)
            said = output.read().decode("utf-8", "replace").strip()
        told = os.pread(report, _REPORT_BYTES, 0).rstrip(b"\0")
    except subprocess.TimeoutExpired:
        raise HandlersError(f"importing the handlers took longer than {within_s:.0f} s") from None
    finally:
        os.close(report)
    if ended.returncode != WELL:
        last = told.decode("utf-8", "replace").rpartition("\n")[2]
        raise HandlersError(
            last or said[-_SAID_CHARACTERS:] or f"importing the handlers ended with status {ended.returncode}"
        )
    return Report.read(told)
