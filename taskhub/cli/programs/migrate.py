"""`taskhub migrate`: bring the database's schema to this version."""

from __future__ import annotations

from contextlib import closing

import click

from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from taskhub.store.migrations import migrate, require_current


@click.command()
def command() -> None:
    """Apply the migrations that the database lacks; safe to run at any time, and twice at once."""
    settings = Settings.load()
    [database_url] = settings.needed("database_url")
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    applied = migrate(database_url)
    for name in applied:
        click.echo(f"applied {name}")
    with closing(Connection(database_url, application="taskhub migrate")) as connection:
        newer = require_current(connection)
    if newer or not applied:
        click.echo(newer or "the schema is current")
