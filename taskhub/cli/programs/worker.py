"""`taskhub worker`: the same program as `python -m supervisor`."""

from __future__ import annotations

import os
import signal
import sys

import click

from taskhub.cli.handler_syntax import require_syntax
from taskhub.cli.package_check import require_own_supervisor
from taskhub.settings.fields import Settings

ARGV = [sys.executable, "-m", "supervisor"]


@click.command()
def command() -> None:
    """Run jobs: a supervisor with TASKHUB_WORKER_PROCESSES children."""
    require_own_supervisor()
    require_syntax(Settings.load().handlers)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # also while the interpreter begins
    os.execv(ARGV[0], ARGV)  # noqa: S606
