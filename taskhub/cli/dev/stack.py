"""What `taskhub dev` runs, and in which order it starts, is watched and stops.

- Start: lock the folder, end what an earlier run left, see that the ports are free; the API, which takes a while to
  be ready and bears that nobody is there yet; PostgreSQL, Redis, migrations, worker.
- Stop, whatever the reason: API, worker (drain), Redis, PostgreSQL. Nothing is left running.
- While it starts, a program that dies stops everything; later it is started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import click

from taskhub import clock, logs
from taskhub.cli.dev import tcp_ports
from taskhub.cli.dev.data_folder import locked
from taskhub.cli.dev.managed_process import ManagedProcess
from taskhub.cli.dev.restart_backoff import RestartBackoff
from taskhub.cli.dev.stop_signals import Stopping, StopSignals
from taskhub.cli.programs import api, worker
from taskhub.embedded.local_processes import EmbeddedError
from taskhub.embedded.postgres import EmbeddedPostgres
from taskhub.embedded.redis import EmbeddedRedis
from taskhub.settings.declaring import SECRETS
from taskhub.settings.fields import Settings, SettingsError
from taskhub.settings.sources import PREFIX
from taskhub.store.migrations import migrate

READY_WITHIN_S = 60
WATCH_S = 1.0
API_STOPS_WITHIN_S = 35
DRAIN_MARGIN_S = 10

log = logs.get_logger(__name__)

Part = EmbeddedPostgres | EmbeddedRedis | ManagedProcess


class DevStack:
    """One run on one data folder; an URL that is set takes the place of our own server."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], signals: StopSignals) -> None:
        self._settings = settings
        self._environ = environ
        self._signals = signals
        self._host = settings.http_host
        self._metrics_port = settings.metrics_port or tcp_ports.free_port(self._host)
        folder = settings.data_dir
        self._postgres = None if settings.database_url else EmbeddedPostgres(folder / "postgres")
        self._redis = None if settings.redis_url else EmbeddedRedis(folder / "redis")
        self._api = ManagedProcess("api", api.ARGV, folder, API_STOPS_WITHIN_S)
        self._worker = ManagedProcess("worker", worker.ARGV, folder, settings.drain_s + DRAIN_MARGIN_S)

    def run(self) -> None:
        """Run until a signal asks to stop."""
        with locked(self._settings.data_dir):
            try:
                self._start()
                self._watch()
            except Stopping:
                pass
            finally:
                self._stop()

    def _start(self) -> None:
        for program in (self._api, self._worker):
            program.end_orphans()
        self._require_ports()
        # The API, the slowest to begin, may be first where nothing that it imports can want a server.
        early, late = ([], [self._api]) if self._settings.handlers else ([self._api], [])
        for part in (*early, *self._servers, *late):
            self._start_part(part)
        migrate(self._database_url)
        self._start_part(self._worker)
        self._await_ready(self._api, self._settings.http_port)
        self._await_ready(self._worker, self._metrics_port)
        self._greet()

    def _require_ports(self) -> None:
        """Raise SettingsError unless both ports are free."""
        wanted = {"TASKHUB_HTTP_PORT": self._settings.http_port, "TASKHUB_METRICS_PORT": self._metrics_port}
        if len(set(wanted.values())) == 1:
            raise SettingsError([f"TASKHUB_HTTP_PORT and TASKHUB_METRICS_PORT are both {self._metrics_port}"])
        troubles = [tcp_ports.trouble(self._host, port, setting) for setting, port in wanted.items()]
        if told := [trouble for trouble in troubles if trouble]:
            raise SettingsError(list(dict.fromkeys(told)))

    def _await_ready(self, program: ManagedProcess, port: int) -> None:
        deadline = clock.monotonic_s() + READY_WITHIN_S
        while not tcp_ports.is_ready(self._host, port):
            self._signals.check()
            for part in (self._api, self._worker):
                if part.exit_code is not None:
                    raise EmbeddedError(f"the {part.name} ended with {part.exit_code} while starting: see above")
            if clock.monotonic_s() > deadline:
                raise EmbeddedError(f"the {program.name} is not ready after {READY_WITHIN_S} s: see above")
            self._signals.wait(0.05)

    def _watch(self) -> None:
        """Start again whatever dies, until a stop is asked for."""
        watched = [(part, RestartBackoff()) for part in (*self._servers, self._api, self._worker)]
        while True:
            self._signals.check()
            for part, restarts in watched:
                if part.pid is None:
                    self._restart(part, restarts)
            self._signals.wait(WATCH_S)

    def _restart(self, part: Part, restarts: RestartBackoff) -> None:
        delay_s = restarts.died()
        if delay_s is not None:
            text = f"{part.name} died; it is started again in {delay_s:g} s"
            log.error("dev.died", extra={"text": text, "part": part.name})
        if not restarts.is_due:
            return
        restarts.started()
        try:
            self._start_part(part)
        except EmbeddedError as error:
            log.error("dev.start_failed", extra={"text": str(error), "part": part.name})
        else:
            log.info("dev.restarted", extra={"text": f"{part.name} was started again", "part": part.name})

    def _start_part(self, part: Part) -> None:
        if isinstance(part, ManagedProcess):
            part.start(self._program_environ())
        else:
            part.start(self._signals.check)

    def _stop(self) -> None:
        """Stop all, in order; trouble with one does not keep the others running."""
        if self._worker.pid and self._signals.count == 1:
            running = tcp_ports.running_jobs(self._host, self._metrics_port)
            self._say(f"draining{'' if running is None else f', {running} running'}; Ctrl-C again stops now")
        with ExitStack() as last_first:
            for server in self._servers:
                last_first.callback(self._stop_server, server)
            for program in (self._worker, self._api):
                last_first.callback(program.stop, self._signals)

    def _stop_server(self, server: EmbeddedPostgres | EmbeddedRedis) -> None:
        server.stop(now=self._signals.count > 1)

    @property
    def _servers(self) -> list[EmbeddedPostgres | EmbeddedRedis]:
        """Our own servers, in the order in which they start."""
        return [server for server in (self._postgres, self._redis) if server]

    @property
    def _database_url(self) -> str:
        return self._postgres.url if self._postgres else str(self._settings.database_url)

    @property
    def _redis_url(self) -> str:
        return self._redis.url if self._redis else str(self._settings.redis_url)

    def _program_environ(self) -> dict[str, str]:
        """The environment for our programs: this one, with what was decided here."""
        ours = {
            "DATABASE_URL": self._database_url,
            "REDIS_URL": self._redis_url,
            "METRICS_PORT": str(self._metrics_port),
            "DATA_DIR": str(self._settings.data_dir),
            "AUTH": self._settings.auth,
            "ENV": self._settings.env,
            "API_PROCESSES": str(self._settings.api_processes),
            "LOG_FORMAT": self._settings.log_format,
        }
        replaced = [f"{PREFIX}{name.upper()}_FILE" for name in SECRETS]
        kept = {name: value for name, value in self._environ.items() if name not in replaced}
        return {**kept, **{PREFIX + name: value for name, value in ours.items()}}

    def _greet(self) -> None:
        host = "localhost" if self._host in ("127.0.0.1", "0.0.0.0") else self._host  # noqa: S104 (to show)
        url = tcp_ports.url(host, self._settings.http_port)
        self._say(f"""
taskhub is ready; Ctrl-C stops it
  API      {url}
  worker   {tcp_ports.url(host, self._metrics_port)}/metrics
Try it:
  curl -s -X POST {url}/jobs -H "Content-Type: application/json" -d '{{"payload":{{"type":"demo","value":123}}}}'
""")

    def _say(self, text: str) -> None:
        """Tell the person at the terminal, if there still is one; standard output is for the log."""
        try:
            click.echo(text, err=True)
        except OSError:
            log.debug("dev.unheard", extra={"text": text})
