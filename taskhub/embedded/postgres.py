"""A PostgreSQL server of our own in a folder: made, started, found again after a crash, stopped.

- All it writes is in its folder: `data`, `run` (its socket), `server.log`, `password`.
- It listens on a unix socket that only this user reaches; on 127.0.0.1, with a password, if a port is given.
- Data remembers which major version made it; only that version's binaries are used on it.
- Nothing of an unfinished start counts: a new cluster gets its name last.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from taskhub import clock
from taskhub.embedded import run_as, server_binaries
from taskhub.embedded.local_processes import (
    POLL_S,
    EmbeddedError,
    bare_environment,
    end_all,
    last_line,
    private_folder,
    servers_in,
    spawn_server,
    wait_ended,
)
from taskhub.embedded.sockets import socket_folder

USER = DATABASE = "taskhub"
START_WITHIN_S = 120
STOP_WITHIN_S = 60
END_ORPHANS_WITHIN_S = 15
DEFAULT_PORT = 5432


class EmbeddedPostgres:
    """One server in `folder`; `settings` are PostgreSQL's own, fsync stays on unless they say otherwise."""

    name = "postgres"

    def __init__(self, folder: Path, *, settings: dict[str, str] | None = None, port: int | None = None) -> None:
        self._folder = folder.absolute()
        self._settings = settings or {}
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder = socket_folder(self._folder, f".s.PGSQL.{DEFAULT_PORT}.lock")
        self.data = self._folder / "data"
        self.log = self._folder / "server.log"

    @property
    def url(self) -> str:
        """Where to connect, as a superuser of this server."""
        if self._port is not None:
            return f"postgresql://{USER}:{self._password()}@127.0.0.1:{self._port}/{DATABASE}"
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._socket_folder), safe='/')}&port={DEFAULT_PORT}"

    @property
    def pid(self) -> int | None:
        """The running server, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, checkpoint: Callable[[], None] = lambda: None) -> EmbeddedPostgres:
        """Start, and return when connections are accepted; `checkpoint` is called while waiting, it may raise."""
        private_folder(self._folder)
        self.end_orphans()
        binaries = server_binaries.postgres_folder(self._major())
        who = run_as.fitting(binaries, self._folder)
        if not self.data.exists():
            self._create(binaries, who)
        private_folder(self._socket_folder)
        for folder in (self._folder, self._socket_folder):
            who.lend(folder)
        self._process = spawn_server([*who.prefix, binaries / "postgres", "-D", self.data, *self._options()], self.log)
        try:
            self._await_ready(self._process, checkpoint)
        except BaseException:
            self.stop(now=True)
            raise
        return self

    def stop(self, *, now: bool = False) -> None:
        """Stop: end sessions and write all to disk; `now` leaves that to the recovery at the next start."""
        process, self._process = self._process, None
        if process and process.poll() is None:
            process.send_signal(signal.SIGQUIT if now else signal.SIGINT)
            if not wait_ended(process, STOP_WITHIN_S):
                process.send_signal(signal.SIGQUIT)
        self.end_orphans()
        if self._socket_folder.parent != self._folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    def end_orphans(self) -> None:
        """End what an earlier run left running on this data; afterwards nothing uses it."""
        end_all(lambda: servers_in(self.data, "postgres"), signal.SIGINT, END_ORPHANS_WITHIN_S)
        if self._process:
            self._process.wait()  # if it was ours, it has ended by now
        for lock in [self.data / "postmaster.pid", *self._socket_folder.glob(".s.PGSQL.*.lock")]:
            _drop_if_number_reused(lock)

    def _create(self, binaries: Path, who: run_as.Identity) -> None:
        """Make a cluster with our database in it, in a folder that is renamed when all is done."""
        new = self._folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password_file = self._folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_hex(16))
        who.lend(self._folder)
        self._run([*who.prefix, binaries / "initdb", "-D", new, "-U", USER, *self._initdb_options(password_file)])
        single: list[str | Path] = [
            *who.prefix,
            binaries / "postgres",
            "--single",
            *self._fast(),
            "-D",
            new,
            "postgres",
        ]
        self._run(single, f"CREATE DATABASE {DATABASE};\n")
        new.rename(self.data)

    def _initdb_options(self, password_file: Path) -> list[str]:
        access = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}"]
        return ["--encoding=UTF8", "--no-locale", "--no-instructions", *access, *self._fast("--no-sync")]

    def _fast(self, option: str = "-F") -> list[str]:
        return [option] if self._settings.get("fsync") == "off" else []

    def _run(self, argv: Sequence[str | Path], given: str = "") -> None:
        result = subprocess.run(  # noqa: S603
            argv,
            input=given,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=bare_environment(),
            start_new_session=True,
            cwd=self._folder,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(result.stdout)
        if result.returncode != 0:
            raise EmbeddedError(f"PostgreSQL's data cannot be made: {last_line(self.log)} (log: {self.log})")

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "" if self._port is None else "127.0.0.1",
            "port": str(self._port or DEFAULT_PORT),
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._settings,
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _await_ready(self, process: subprocess.Popen[bytes], checkpoint: Callable[[], None]) -> None:
        deadline = clock.monotonic_s() + START_WITHIN_S
        while not self._is_ready(process.pid):
            checkpoint()
            if process.poll() is not None:
                raise EmbeddedError(f"PostgreSQL does not start: {last_line(self.log)} (log: {self.log})")
            if clock.monotonic_s() > deadline:
                raise EmbeddedError(f"PostgreSQL is not ready after {START_WITHIN_S} s (log: {self.log})")
            clock.sleep(POLL_S)

    def _is_ready(self, pid: int) -> bool:
        """True when the server itself has written so, as this very process, into its pid file."""
        with contextlib.suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def _major(self) -> int | None:
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (OSError, ValueError):
            return None

    def _password(self) -> str:
        return (self._folder / "password").read_text()


def _drop_if_number_reused(lock: Path) -> None:
    """Remove a lock file whose process number is a stranger's by now: PostgreSQL would refuse to start."""
    with contextlib.suppress(OSError, IndexError):
        if Path("/proc", lock.read_text().split()[0]).exists():
            lock.unlink()
