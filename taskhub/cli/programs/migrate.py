"""`taskhub migrate`: bring the database's schema to this version."""

from __future__ import annotations

import click

from taskhub.settings.fields import Settings
from taskhub.store.migrations import migrate


@click.command()
def command() -> None:
    """Apply the migrations that the database lacks; safe to run at any time, and twice at once."""
    [database_url] = Settings.load().needed("database_url")
    applied = migrate(database_url)
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("the schema is current")
