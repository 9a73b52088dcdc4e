"""`taskhub check`: are the settings good, and do the servers that they name answer?"""

from __future__ import annotations

import sys

import click

from taskhub import addresses
from taskhub.broker.opening import open_broker
from taskhub.cli.package_check import ShadowedError, require_own_supervisor
from taskhub.domain.errors import SchemaOutdatedError, UnavailableError
from taskhub.settings.fields import Settings
from taskhub.store.migrations import require_current
from taskhub.store.opening import open_store

OK, REFUSED, AWAY = 0, 1, 3


@click.command()
def command() -> None:
    """Check the settings, then try PostgreSQL and Redis; exit 2 for bad settings, 3 if one is away."""
    settings = Settings.load()
    database_url, redis_url = settings.server_urls()
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo("settings: good")
    sys.exit(max(_try_packages(), _try_postgres(database_url, settings), _try_redis(redis_url, settings)))


def _try_packages() -> int:
    try:
        require_own_supervisor()
    except ShadowedError as error:
        click.echo(f"packages: {error}")
        return REFUSED
    return OK


def _try_postgres(url: str, settings: Settings) -> int:
    connection = open_store(settings, "taskhub check")
    where = f"PostgreSQL at {addresses.masked(url)}"
    try:
        require_current(connection)
        [(encoding,)] = connection.execute("SHOW server_encoding")
    except SchemaOutdatedError as error:
        click.echo(f"{where}: answers, but {error}")
        return REFUSED
    except UnavailableError as error:
        click.echo(f"{where}: {error}; is it running, and is TASKHUB_DATABASE_URL right?")
        return AWAY
    finally:
        connection.close()
    if encoding != "UTF8":
        click.echo(f"{where}: answers, but its encoding is {encoding}: make the database with ENCODING 'UTF8'")
        return REFUSED
    click.echo(f"{where}: answers, schema current")
    return OK


def _try_redis(url: str, settings: Settings) -> int:
    where = f"Redis at {addresses.masked(url)}"
    try:
        policy = open_broker(settings).eviction_policy()
    except UnavailableError as error:
        click.echo(f"{where}: {error}; is it running, and is TASKHUB_REDIS_URL right?")
        return AWAY
    click.echo(f"{where}: answers")
    if policy != "noeviction":
        click.echo(f"warning: Redis evicts keys ({policy}); set maxmemory-policy noeviction", err=True)
    return OK
