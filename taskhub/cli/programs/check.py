"""`taskhub check`: would `taskhub api` and `taskhub worker` start here, and what is to be run next?"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from taskhub.cli import server_checks
from taskhub.cli.dev import tcp_ports
from taskhub.cli.handler_check import imported
from taskhub.cli.handler_syntax import HandlersError
from taskhub.cli.package_check import ShadowedError, require_own_supervisor
from taskhub.cli.server_checks import OK, REFUSED, Finding
from taskhub.settings.fields import Settings, SettingsError

_NEXT = "taskhub api, and taskhub worker"


@click.command()
def command() -> None:
    """Try each thing that `api` and `worker` will do; exit 1 if one would fail, 2: settings, 3: a server is away."""
    settings = Settings.load()
    database_url, redis_url = settings.server_urls()
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo("settings: good")
    worst, after = OK, ""
    for findings in (
        _packages(),
        _handlers(settings),
        server_checks.postgres(database_url, settings),
        server_checks.redis(redis_url, settings),
        _ports(settings),
    ):
        for code, text, then in findings:
            click.echo(text, err=text.startswith("warning"))
            worst, after = max(worst, code), after or then
    click.echo(f"next: {after or (_NEXT if worst == OK else 'mend what is told above, then taskhub check')}")
    sys.exit(worst)


def _packages() -> Iterator[Finding]:
    try:
        require_own_supervisor()
    except ShadowedError as error:
        yield REFUSED, f"packages: {error}", ""


def _handlers(settings: Settings) -> Iterator[Finding]:
    try:
        report = imported(settings.handlers, settings.timers.import_s)
    except HandlersError as error:
        yield REFUSED, f"handlers: {error}", ""
        return
    types: dict[str, list[str]] = {}
    for queue, job_type in report.types:
        types.setdefault(queue, []).append(job_type)
    for queue, names in sorted(types.items()):
        yield OK, f"handlers: queue {queue}: {', '.join(sorted(names))}", ""
    unserved = [queue for queue in types if settings.queues and queue not in dict(settings.queues)]
    if unserved:
        queues = ", ".join(sorted(unserved))
        yield OK, f"warning: TASKHUB_QUEUES leaves out {queues}: this worker runs no jobs from there", ""
    for module, left in report.left_behind:
        yield OK, f"warning: {module} {', '.join(left)} when it is imported; do that in the handler", ""


def _ports(settings: Settings) -> Iterator[Finding]:
    try:
        settings.require_meant_exposure()
    except SettingsError as error:
        yield REFUSED, f"ports: {error}", ""
    wanted = (settings.http_port, "TASKHUB_HTTP_PORT"), (settings.metrics_port, "TASKHUB_METRICS_PORT")
    for port, setting in wanted:
        if port == 0:
            continue  # a free one
        trouble = tcp_ports.trouble(settings.http_host, port, setting)
        if trouble is None:
            yield OK, f"ports: {port} is free ({setting})", ""
        elif tcp_ports.is_taskhub(settings.http_host, port):
            yield OK, f"ports: a taskhub that runs here answers on {port} ({setting}); another needs another", ""
        else:
            yield REFUSED, f"ports: {trouble}", ""
