"""A real PostgreSQL and a real Redis for one test run, gone with it.

Invariants: data in a private short-named folder (a socket's path has 107 bytes at the most), sockets only,
no fsync; each server dies with the process that started it, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import psycopg2
import redis

from taskhub.embedded import server_binaries
from tests.harness.processes import family_of, is_stopped
from tests.waiting import wait_until

_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",  # taskhub's own sessions turn it on; without fsync it costs nothing
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "autovacuum": "off",
    "log_min_messages": "error",
    "max_prepared_transactions": "4",
}
_SHM = "/dev/shm"
_numbers = itertools.count(1)
_ROOM_BYTES = 4 * 1024**3


def _memory() -> str | None:
    """A file system in memory, if there is room: making a database takes 20 ms there, and up to a second on a disk."""
    try:
        return _SHM if shutil.disk_usage(_SHM).free > _ROOM_BYTES else None
    except OSError:
        return None


def _folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"th-{name}-", dir=_memory()))


@functools.cache
def _new_cluster() -> Path:
    """A cluster that was never started: made once in a test process, and copied, which costs a tenth."""
    folder = _folder("new")
    initdb = str(server_binaries.postgres_folder() / "initdb")
    subprocess.run(
        [*_as_ordinary_user(), initdb, "-D", "data", "-U", "postgres", "-A", "trust",
         "--no-sync", "-E", "UTF8", "--locale=C"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "data"


class _Server:
    """One server program in a folder of its own."""

    def __init__(self, name: str) -> None:
        self.folder = _folder(name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _launch(self, *command: str, dies_by: str) -> None:
        launcher = [*_as_ordinary_user(), "setpriv", "--pdeathsig", dies_by]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL, as a machine that loses power would."""
        self._end(signal.SIGKILL)

    def _failure(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class Postgres(_Server):
    """A PostgreSQL cluster; `url(database)` names one of its databases. With a port it listens on loopback, too."""

    def __init__(self, port: int | None = None) -> None:
        super().__init__("pg")
        self._port = port
        self._postgres = str(server_binaries.postgres_folder() / "postgres")
        self._desk: psycopg2.extensions.connection | None = None  # of `run`
        self.version = 0
        shutil.copytree(_new_cluster(), self.folder / "data")

    def start(self) -> None:
        self._desk = None  # a session of the server before
        network = {"listen_addresses": "127.0.0.1,::1", "port": str(self._port)} if self._port else {}
        settings = {**_POSTGRES_SETTINGS, **network}
        options = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
        data = str(self.folder / "data")
        self._launch(self._postgres, "-D", data, "-k", str(self.folder), *options, dies_by="QUIT")
        wait_until(self._answers, 30, f"PostgreSQL answers: {self._failure()}", every_s=0.05)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGQUIT: every backend leaves at once without a word, and nothing of the cluster stays behind."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Stop the server with all its sessions: before them whoever begins new ones, which would work on."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: is_stopped(self.pid), 5, "the server stands still")
        for pid in self._everybody():
            with contextlib.suppress(ProcessLookupError):  # a session that has just ended
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._everybody():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _everybody(self) -> list[int]:
        return family_of(self.pid)

    def url(self, database: str) -> str:
        port = f"&port={self._port}" if self._port else ""
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder), safe='')}{port}"

    def network_url(self, database: str, host: str = "127.0.0.1") -> str:
        """The same over TCP."""
        return f"postgresql://postgres@{host}:{self._port}/{database}"

    def run(self, *statements: str) -> None:
        """Execute statements that no transaction may contain, as CREATE DATABASE, in one session that is kept."""
        if self._desk is None:
            self._desk = psycopg2.connect(self.url("postgres"))
            self._desk.autocommit = True
        with self._desk.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended: {self._failure()}")
        try:
            connection = psycopg2.connect(self.url("postgres"))
        except psycopg2.OperationalError:
            return False
        self.version = connection.server_version
        connection.close()
        return True


_S = TypeVar("_S", "Postgres", "Redis")


@contextlib.contextmanager
def started(server: _S) -> Iterator[_S]:
    """A server that runs for as long as this does, and of which nothing stays behind."""
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextlib.contextmanager
def new_database(server: Postgres, template: str = "template1") -> Iterator[str]:
    """The URL of a database that is a copy of `template`, and gone afterwards."""
    name = f"test_{next(_numbers)}"
    copy = " STRATEGY file_copy" if server.version >= 150000 else ""  # 15 ms; wal_log, the default, takes 25
    server.run(f"CREATE DATABASE {name} TEMPLATE {template}{copy}")
    yield server.url(name)
    server.run(f"DROP DATABASE {name} WITH (FORCE)")


class Redis(_Server):
    """A Redis server that keeps nothing on disk."""

    def __init__(self, *options: str) -> None:
        super().__init__("redis")
        self._options = options
        self._socket = self.folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._launch(
            str(server_binaries.redis_server()), "--port", "0", "--unixsocket", str(self._socket), "--save", "",
            "--appendonly", "no", "--dir", str(self.folder), "--maxmemory-policy", "noeviction", *self._options,
            dies_by="KILL",
        )  # fmt: skip
        wait_until(self._answers, 20, f"Redis answers: {self._failure()}", every_s=0.01)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> redis.Redis:
        """A plain client, for tests to look behind taskhub's back."""
        return redis.Redis.from_url(self.url, socket_timeout=5, protocol=2)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"Redis ended: {self._failure()}")
        client = self.client()
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def _as_ordinary_user() -> list[str]:
    """PostgreSQL refuses to run as root: a user namespace makes root look like somebody else, to it alone."""
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
