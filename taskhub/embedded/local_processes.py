"""Programs that run apart from us: started in a session of their own, found again by what /proc says.

A pid is never trusted by itself. A server is ours if its executable has the right name and it works in
our folder; another program is ours if its environment holds our mark. So nothing needs to be written
down before a crash, and a number used again by a stranger harms nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from taskhub import clock

POLL_S = 0.01
KILLED_WITHIN_S = 10
_REASONS = re.compile(r"FATAL|PANIC|[Ee]rror|Can't|Bad |Unexpected")


class EmbeddedError(Exception):
    """A program cannot be had, started or stopped; the message is one line that says what to do."""


def private_folder(folder: Path, *, mode: int = 0o700) -> Path:
    """Make `folder`, for this user only; one that exists keeps its mode."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EmbeddedError(f"cannot write into the folder {folder}")
    return folder


def spawn_server(argv: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """Start a server in its own session, with a bare environment; `log` holds this run, `.1` the one before."""
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=bare_environment(),
            start_new_session=True,
            cwd=log.parent,
        )


def bare_environment() -> dict[str, str]:
    """What a server's program needs; nothing of the user's shell changes how it behaves."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def servers_in(folder: Path, executable: str) -> list[int]:
    """The pids of `executable` processes that work in `folder`."""
    return [pid for pid in _pids() if _is_server(Path("/proc", str(pid)), folder.resolve(), executable)]


def marked(mark: str) -> list[int]:
    """The pids of processes that were started with `mark`, a `NAME=value`, in their environment."""
    wanted = mark.encode()
    return [pid for pid in _pids() if wanted in _read(Path("/proc", str(pid), "environ")).split(b"\0")]


def end_all(find: Callable[[], list[int]], number: signal.Signals, within_s: float) -> None:
    """Signal what `find` returns until it returns nothing: with `number` for `within_s`, then SIGKILL."""
    deadline = clock.monotonic_s() + within_s
    told: set[int] = set()
    while pids := find():
        late_s = clock.monotonic_s() - deadline
        if late_s > KILLED_WITHIN_S:
            raise EmbeddedError(f"cannot end the processes {pids}, left by an earlier run")
        for pid in pids if late_s > 0 else set(pids) - told:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late_s > 0 else number)
        told.update(pids)
        clock.sleep(POLL_S)


def wait_ended(process: subprocess.Popen[bytes], within_s: float) -> bool:
    """Wait for `process` to end; False if it has not."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def last_line(log: Path) -> str:
    """The last line of a server's log that says something, preferring the reason for a failure."""
    lines = [line for line in _read(log)[-8192:].decode(errors="replace").splitlines() if line.strip()]
    reasons = [line for line in lines if _REASONS.search(line)]
    return (reasons or lines or ["it said nothing"])[-1].strip()


def _pids() -> Iterator[int]:
    own = os.getpid()
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and int(entry) != own)


def _is_server(entry: Path, folder: Path, executable: str) -> bool:
    try:
        # Not by its file: Debian's redis-server is a link to a program of another name.
        return _read(entry / "comm").decode().strip() == executable and os.readlink(entry / "cwd") == str(folder)
    except PermissionError:  # it runs as another user: only its command line is public
        argv = _read(entry / "cmdline").split(b"\0")
        return argv[0].endswith(executable.encode()) and os.fsencode(folder) in argv
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
