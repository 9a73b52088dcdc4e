"""`taskhub api`: check the settings, then become gunicorn."""

from __future__ import annotations

import os
import sys

import click

from taskhub.cli.handler_syntax import require_syntax
from taskhub.settings.fields import Settings

ARGV = [sys.executable, "-m", "gunicorn", "--config", "python:taskhub.api.gunicorn_conf", "taskhub.wsgi:app"]


@click.command()
def command() -> None:
    """Serve the HTTP API (gunicorn, TASKHUB_API_PROCESSES x TASKHUB_API_THREADS)."""
    settings = Settings.load()
    settings.server_urls()
    settings.require_meant_exposure()
    require_syntax(settings.handlers)
    os.execv(ARGV[0], ARGV)  # noqa: S606
