"""A Redis server of our own in a folder: started, found again after a crash, stopped.

- All it writes is in its folder: `redis.conf`, the append-only file, `server.log`, `run` (its socket).
- It listens on a unix socket that only this user reaches; on 127.0.0.1, with a password, if a port is given.
- It never evicts and syncs once a second. Redis is only the doorbell: a file that it cannot read is set
  aside, and it starts empty.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from taskhub import clock
from taskhub.embedded import server_binaries
from taskhub.embedded.local_processes import (
    POLL_S,
    EmbeddedError,
    end_all,
    last_line,
    private_folder,
    servers_in,
    spawn_server,
    wait_ended,
)
from taskhub.embedded.sockets import socket_folder

START_WITHIN_S = 60
STOP_WITHIN_S = 30
SOCKET_NAME = "redis.sock"
APPEND_ONLY = "appendonly.aof"
_APPEND_ONLY_PLACES = (APPEND_ONLY, "appendonlydir")  # a file up to Redis 6, a folder from 7 on


class EmbeddedRedis:
    """One server in `folder`; `settings` are Redis's own and win over ours."""

    name = "redis"

    def __init__(self, folder: Path, *, settings: dict[str, str] | None = None, port: int | None = None) -> None:
        self._folder = folder.absolute()
        self._settings = settings or {}
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = socket_folder(self._folder, SOCKET_NAME) / SOCKET_NAME
        self.log = self._folder / "server.log"

    @property
    def url(self) -> str:
        """Where to connect."""
        if self._port is not None:
            return f"redis://:{self._password()}@127.0.0.1:{self._port}/0"
        return f"unix://{self._socket}?db=0"

    @property
    def pid(self) -> int | None:
        """The running server, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, checkpoint: Callable[[], None] = lambda: None) -> EmbeddedRedis:
        """Start, and return when commands are answered; `checkpoint` is called while waiting, it may raise."""
        private_folder(self._folder)
        self.end_orphans()
        try:
            self._launch(checkpoint)
        except EmbeddedError:
            if not self._set_aside():
                raise
            self._launch(checkpoint)
        return self

    def stop(self, *, now: bool = False) -> None:
        """Stop, with everything written to disk; `now` does without."""
        process, self._process = self._process, None
        if process and process.poll() is None:
            process.send_signal(signal.SIGKILL if now else signal.SIGTERM)
            wait_ended(process, STOP_WITHIN_S)
        self.end_orphans()
        if self._socket.parent.parent != self._folder:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    def end_orphans(self) -> None:
        """End what an earlier run left running in this folder; afterwards nothing uses it."""
        end_all(lambda: servers_in(self._folder, "redis-server"), signal.SIGTERM, STOP_WITHIN_S)
        if self._process:
            self._process.wait()  # if it was ours, it has ended by now

    def _launch(self, checkpoint: Callable[[], None]) -> None:
        private_folder(self._socket.parent)
        configuration = self._configure()
        self._process = spawn_server([server_binaries.redis_server(), configuration], self.log)
        deadline = clock.monotonic_s() + START_WITHIN_S
        try:
            while not self._answers():
                checkpoint()
                if self._process.poll() is not None:
                    raise EmbeddedError(f"Redis does not start: {last_line(self.log)} (log: {self.log})")
                if clock.monotonic_s() > deadline:
                    raise EmbeddedError(f"Redis is not ready after {START_WITHIN_S} s (log: {self.log})")
                clock.sleep(POLL_S)
        except BaseException:
            self.stop(now=True)
            raise

    def _configure(self) -> Path:
        """Write the settings to a private file: a password on a command line could be read by everybody."""
        settings = {
            "port": str(self._port or 0),
            "bind": "127.0.0.1",
            "unixsocket": f'"{self._socket}"',
            "unixsocketperm": "700",
            "dir": f'"{self._folder}"',
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes",
            "appendfilename": APPEND_ONLY,
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **({"requirepass": self._password()} if self._port is not None else {}),
            **self._settings,
        }
        return _write_private(self._folder / "redis.conf", "".join(f"{k} {v}\n" for k, v in settings.items()))

    def _answers(self) -> bool:
        """True once PING is answered by PONG, hence not while the append-only file is being read."""
        hello = f"AUTH {self._password()}\r\nPING\r\n" if self._port is not None else "PING\r\n"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self._socket))
            connection.sendall(hello.encode())
            return b"+PONG" in connection.recv(4096)
        return False

    def _set_aside(self) -> bool:
        """Move an append-only file that cannot be read out of the way; False if that was not the trouble."""
        if "append only file" not in last_line(self.log).lower():
            return False
        broken = [path for name in _APPEND_ONLY_PLACES if (path := self._folder / name).exists()]
        for path in broken:
            aside = path.with_suffix(".unreadable")
            shutil.rmtree(aside, ignore_errors=True)
            path.replace(aside)
        return bool(broken)

    def _password(self) -> str:
        file = self._folder / "password"
        if not file.exists():
            _write_private(file, secrets.token_hex(16))
        return file.read_text()


def _write_private(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(text)
    return file
