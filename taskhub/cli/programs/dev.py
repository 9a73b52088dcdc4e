"""`taskhub dev`: everything that taskhub needs, on one machine, from one command."""

from __future__ import annotations

import os
import sys

import click

from taskhub import logs
from taskhub.cli.dev.stack import DevStack
from taskhub.cli.dev.stop_signals import StopSignals
from taskhub.cli.handler_syntax import require_syntax
from taskhub.cli.package_check import require_own_supervisor
from taskhub.settings.fields import Settings


@click.command()
def command() -> None:
    """Start PostgreSQL, Redis, the API and a worker, until Ctrl-C.

    The servers are real ones, with their data in TASKHUB_DATA_DIR; TASKHUB_DATABASE_URL and
    TASKHUB_REDIS_URL each replace one of them by a server of yours.
    """
    signals = StopSignals()
    log_format = "console" if sys.stdout.isatty() else "json"
    # One process of the API is ready sooner: the second would only import the same at the same time.
    defaults = {"auth": "off", "env": "development", "log_format": log_format, "api_processes": "1"}
    settings = Settings.load(defaults=defaults)
    logs.configure(settings)
    require_own_supervisor()
    require_syntax(settings.handlers)
    DevStack(settings, os.environ, signals).run()
