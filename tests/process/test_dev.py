"""`taskhub dev`: one command starts everything, one Ctrl-C ends everything, no crash spoils the next start."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from taskhub.cli.dev.managed_process import MARK
from taskhub.embedded import server_binaries
from taskhub.embedded.local_processes import marked, servers_in
from tests.harness.http import Http
from tests.harness.programs import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "taskhub.cli.main", "dev"]
READY = "Try it:"
START_S = 40


class Dev:
    """One `taskhub dev` on a data folder, its output in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api_port, self.metrics_port = free_port(), free_port()
        self.output = folder.parent / f"{folder.name}.out"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "TASKHUB_DATA_DIR": str(folder),
            "TASKHUB_HTTP_PORT": str(self.api_port),
            "TASKHUB_METRICS_PORT": str(self.metrics_port),
            "TASKHUB_WORKER_PROCESSES": "1",
        }
        self.process: subprocess.Popen[bytes]

    def launch(self) -> None:
        """Start it without a terminal."""
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self.environ,
                start_new_session=True,
            )

    def start(self) -> Dev:
        self.launch()
        self.await_text(READY)
        return self

    def await_text(self, text: str) -> None:
        def told() -> bool:
            found = text in self.text()
            assert found or self.process.poll() is None, self.text()
            return found

        wait_until(told, START_S, f"{text!r} in the output")

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_S)

    def programs(self, name: str) -> list[int]:
        return marked(f"{MARK}={self.folder}:{name}")

    def servers(self) -> list[int]:
        return servers_in(self.folder / "postgres" / "data", "postgres") + servers_in(
            self.folder / "redis", "redis-server"
        )

    def everything(self) -> list[int]:
        return [*self.programs("api"), *self.programs("worker"), *self.servers()]

    def kill_everything(self) -> None:
        """SIGKILL to all that is left; children may end by themselves when their parent does."""
        for pid in self.everything():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def submit(self, payload: dict[str, Any]) -> dict[str, Any]:
        with Http(self.api_port) as client:
            answer = client.post("/jobs", {"payload": payload})
        assert answer.status == 202, answer.text
        return dict(json.loads(answer.text))

    def job(self, job_id: str) -> dict[str, Any]:
        with Http(self.api_port) as client:
            return dict(json.loads(client.get(f"/jobs/{job_id}").text))

    def await_status(self, job_id: str, status: str) -> None:
        wait_until(lambda: self.job(job_id)["status"] == status, 20, f"job {job_id} {status}")


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    with ended(Dev(tmp_path / "data")) as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One for all tests that leave it serving."""
    with ended(Dev(tmp_path_factory.mktemp("dev") / "data")) as made:
        yield made.start()
        assert made.stop() == 0
        assert made.everything() == []


@contextlib.contextmanager
def ended(made: Dev) -> Iterator[Dev]:
    """Lends a Dev, and leaves nothing of it running."""
    try:
        yield made
    finally:
        if hasattr(made, "process") and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        made.kill_everything()
        wait_until(lambda: not made.everything(), 10, "nothing is left")


def test_a_job_runs_and_the_next_start_still_knows_it(dev: Dev) -> None:
    dev.start()
    job = dev.submit({"type": "demo", "value": 123})
    dev.await_status(job["id"], "completed")

    assert len(dev.programs("api")) == 2, "gunicorn, and one process"
    assert dev.stop() == 0
    assert "draining, 0 running; Ctrl-C again stops now" in dev.text()
    assert dev.everything() == []

    dev.start()
    assert dev.job(job["id"])["result"] == {"value": 123}


def test_the_banner_is_the_last_word_and_its_curl_line_works(running: Dev) -> None:
    curl = running.text().split(READY)[1].strip().splitlines()[0]

    answer = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)

    assert json.loads(answer.stdout)["payload"] == {"type": "demo", "value": 123}


def test_a_second_start_on_the_same_folder_says_so(running: Dev) -> None:
    members = sorted(running.everything())

    second = subprocess.run(COMMAND, env=running.environ, capture_output=True, text=True, check=False)

    assert second.returncode == 1
    assert second.stderr == f"taskhub: taskhub dev already runs on {running.folder} (process {running.process.pid})\n"
    assert set(members) <= set(running.everything())


def test_ports_in_use_are_told_with_who_holds_them_and_nothing_is_started(dev: Dev) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        taken = [one.getsockname()[1], other.getsockname()[1]]
        dev.environ |= {"TASKHUB_HTTP_PORT": str(taken[0]), "TASKHUB_METRICS_PORT": str(taken[1])}

        dev.launch()

        assert dev.process.wait(START_S) == 2
    holder = f"in use by process {os.getpid()} ("
    for line, setting, port in zip(dev.text().splitlines(), ("HTTP_PORT", "METRICS_PORT"), taken, strict=True):
        assert line.startswith(f"taskhub: TASKHUB_{setting}: port {port} on 127.0.0.1 is {holder}")
    assert not (dev.folder / "postgres").exists()
    assert dev.everything() == []


def test_everything_answers_on_ipv6_and_the_banner_says_where(dev: Dev) -> None:
    dev.environ["TASKHUB_HTTP_HOST"] = "[::1]"
    dev.start()

    assert f"http://[::1]:{dev.api_port}\n" in dev.text()
    for port in (dev.api_port, dev.metrics_port):
        with urllib.request.urlopen(f"http://[::1]:{port}/readyz", timeout=5) as answer:
            assert answer.status == 200
    curl = dev.text().split(READY)[1].strip().splitlines()[0]
    assert subprocess.run(["sh", "-c", curl], capture_output=True, check=True).stdout


def test_bad_settings_are_told_and_nothing_is_started(dev: Dev) -> None:
    dev.environ |= {"TASKHUB_HTTP_PORT": "no", "TASKHUB_DRAIN_S": "no"}

    dev.launch()

    assert dev.process.wait(START_S) == 2
    assert len(dev.text().splitlines()) == 2
    assert dev.everything() == []


def test_a_handler_module_that_is_missing_stops_the_start(dev: Dev) -> None:
    dev.environ["TASKHUB_HANDLERS"] = "no_such_module"

    dev.launch()

    assert dev.process.wait(START_S) == 1
    assert "no_such_module" in dev.text()
    assert dev.everything() == []


def test_after_a_kill_of_everything_the_next_start_just_works(dev: Dev) -> None:
    dev.start()
    job = dev.submit({"type": "sleep", "seconds": 1})
    dev.process.kill()
    dev.process.wait()
    dev.kill_everything()

    dev.start()

    dev.await_status(job["id"], "completed")


def test_after_a_kill_of_dev_alone_the_next_start_ends_the_orphans(dev: Dev) -> None:
    dev.start()
    orphans = dev.everything()
    dev.process.kill()
    dev.process.wait()
    assert set(dev.servers()) & set(orphans)

    dev.start()

    assert not set(dev.everything()) & set(orphans)
    assert dev.submit({"type": "demo"})["status"] == "queued"


def head_of(pids: list[int]) -> int:
    """The one that has started the others; their numbers may have begun again at the lowest."""
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in pids}
    [head] = [pid for pid, parent in parents.items() if parent not in parents]
    return head


def test_a_part_that_dies_is_started_again(running: Dev) -> None:
    members: dict[str, Callable[[], list[int]]] = {
        "postgres": lambda: servers_in(running.folder / "postgres" / "data", "postgres"),
        "redis": lambda: servers_in(running.folder / "redis", "redis-server"),
        "api": lambda: running.programs("api"),
        "worker": lambda: running.programs("worker"),
    }

    def accepted(value: str) -> dict[str, Any]:
        try:
            return running.submit({"type": "demo", "value": value})
        except (OSError, AssertionError):
            return {}

    for part, pids in members.items():
        os.kill(head_of(pids()), signal.SIGKILL)
        running.await_text(f"{part} was started again")
        job = wait_until(partial(accepted, part), 20, f"a job is accepted after {part} died")
        running.await_status(job["id"], "completed")


def test_ctrl_c_in_a_terminal_drains_and_a_second_one_stops_now(dev: Dev) -> None:
    terminal = Terminal(dev)
    terminal.await_text(READY)
    job = dev.submit({"type": "sleep", "seconds": 60})
    dev.await_status(job["id"], "running")

    terminal.press_ctrl_c()
    terminal.await_text("draining, 1 running; Ctrl-C again stops now")
    assert dev.programs("worker")
    terminal.press_ctrl_c()

    assert terminal.wait_ended() == 0
    assert dev.everything() == []
    dev.start()
    assert dev.job(job["id"])["attempts"] >= 1


class Terminal:
    """A pseudo-terminal with `taskhub dev` in its foreground, as a shell would start it."""

    def __init__(self, dev: Dev) -> None:
        self._master, slave = pty.openpty()
        dev.process = self._process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND], stdin=slave, stdout=slave, stderr=slave, env=dev.environ
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self._text = ""

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def await_text(self, text: str) -> None:
        def told() -> bool:
            found = text in self._read()
            assert found or self._process.poll() is None, self._text
            return found

        wait_until(told, START_S, f"{text!r} on the terminal")

    def wait_ended(self) -> int:
        wait_until(lambda: self._read() and self._process.poll() is not None, START_S, "the end")
        os.close(self._master)
        return self._process.returncode

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # nothing new, or the other side is closed
            self._text += os.read(self._master, 65536).decode(errors="replace")
        return self._text


# As root where user namespaces are forbidden, as in most containers

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def nobody_may_run_postgres() -> bool:
    """False for ordinary users, and where the installation is in a folder of root's alone."""
    command = [*AS_NOBODY, server_binaries.postgres_folder() / "postgres", "--version"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[Dev]:
    """In a folder that others may enter, with an `unshare` that always fails."""
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Dev(Path(folder) / "data")
        made.environ["PATH"] = f"{refusing.parent}:{made.environ['PATH']}"
        with ended(made):
            yield made


@pytest.mark.skipif(not nobody_may_run_postgres(), reason="needs root, and an installation that others may read")
def test_root_without_user_namespaces_lends_postgresql_to_another_user(confined: Dev) -> None:
    confined.start()
    job = confined.submit({"type": "demo", "value": 1})
    confined.await_status(job["id"], "completed")
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in confined.servers()} == {0, 65534}
    assert confined.stop() == 0
    assert confined.everything() == []
