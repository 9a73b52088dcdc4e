"""The `taskhub` command: its subcommands, and what their failures mean to a shell.

Exit codes: 0 done, 1 refused or failed, 2 usage or settings, 3 a dependency is away.
"""

from __future__ import annotations

import difflib
import importlib
import sys

import click

from taskhub.domain.errors import SchemaOutdatedError, TaskhubError, UnavailableError
from taskhub.embedded.local_processes import EmbeddedError
from taskhub.settings.fields import SettingsError

REFUSED, SETTINGS, AWAY = 1, 2, 3
COMMANDS = ("dev", "api", "worker", "migrate", "check")


class Commands(click.Group):
    """Imports a subcommand only when it is asked for: none pays for another's libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, 1)
            ctx.fail(f"{cmd_name!r} is not a command" + (f"; did you mean {near[0]}?" if near else ""))
        command: click.Command = importlib.import_module(f"taskhub.cli.programs.{cmd_name}").command
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="taskhub")
def taskhub() -> None:
    """Background jobs that are not lost: PostgreSQL is the truth, Redis is the doorbell."""


def main() -> None:
    """Run the command line; every expected failure is told in one line each, without a traceback."""
    try:
        taskhub(prog_name="taskhub")
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"taskhub: {problem}", err=True)
        sys.exit(SETTINGS)
    except SchemaOutdatedError as error:
        click.echo(f"taskhub: {error}", err=True)
        sys.exit(REFUSED)
    except UnavailableError as error:
        click.echo(f"taskhub: {error}", err=True)
        sys.exit(AWAY)
    except (TaskhubError, EmbeddedError) as error:
        click.echo(f"taskhub: {error}", err=True)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
