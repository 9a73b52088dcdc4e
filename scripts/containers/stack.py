"""One Compose project, as the commands `docker` and `docker compose` show and change it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from containers.waiting import Failed

ROOT = Path(__file__).parents[2]
BASE_FILE = ROOT / "compose" / "docker-compose.yml"
PRODUCTION_FILE = ROOT / "compose" / "production.yml"


def docker(*arguments: str, timeout_s: float = 120, environ: dict[str, str] | None = None) -> str:
    """Run one command; returns what it wrote to standard output. Raises Failed with the end of what it complained."""
    done = subprocess.run(
        ["docker", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(environ or {})},
    )
    if done.returncode:
        raise Failed(f"docker {' '.join(arguments[:6])}...: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def engine_trouble() -> str | None:
    """Why no engine with Compose can be used here; None if one can."""
    try:
        docker("version", timeout_s=30)
        docker("compose", "version", timeout_s=30)
    except (OSError, Failed, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Stack:
    """A project with ports and settings of its own, beside any other on the same engine."""

    def __init__(self, project: str, settings: dict[str, str], files: Sequence[Path] = (BASE_FILE,)) -> None:
        self.project = project
        self._options = ["-p", project, *(part for file in files for part in ("-f", str(file)))]
        ports = {name: str(free_port()) for name in ("API_PORT", "METRICS_PORT", "PROMETHEUS_PORT")}
        self.environ = {**ports, **settings}
        self.api_url = f"http://127.0.0.1:{self.environ['API_PORT']}"
        self.metrics_url = f"http://127.0.0.1:{self.environ['METRICS_PORT']}"
        self.prometheus_url = f"http://127.0.0.1:{self.environ['PROMETHEUS_PORT']}"

    def compose(self, *arguments: str, timeout_s: float = 300) -> str:
        return docker("compose", *self._options, *arguments, timeout_s=timeout_s, environ=self.environ)

    def with_files(self, *files: Path) -> Stack:
        """The same project, with more files on top."""
        other = Stack(self.project, self.environ)
        other._options = [*self._options, *(part for file in files for part in ("-f", str(file)))]
        return other

    def config(self) -> dict[str, Any]:
        return dict(json.loads(self.compose("config", "--format", "json")))

    def containers(self, service: str, *, also_stopped: bool = False) -> list[str]:
        """Ids of a service's containers; by default of those that run."""
        found = self.compose("ps", "-q", *(["-a"] if also_stopped else []), service)
        return found.split()

    def all_containers(self) -> list[str]:
        label = f"label=com.docker.compose.project={self.project}"
        return docker("ps", "-aq", "--no-trunc", "--filter", label).split()

    def execute(self, container: str, *command: str) -> str:
        return docker("exec", container, *command, timeout_s=30)

    def sql(self, statement: str) -> list[list[str]]:
        """Rows of text, from PostgreSQL's own container."""
        [postgres] = self.containers("postgres")
        told = self.execute(postgres, "psql", "-U", "taskhub", "-d", "taskhub", "-AtqF", "\t", "-c", statement)
        return [line.split("\t") for line in told.splitlines()]

    def down(self) -> None:
        """Remove everything, data included."""
        self.compose("--profile", "*", "down", "-v", "--remove-orphans", "-t", "5")


def inspect(container: str) -> dict[str, Any]:
    """Everything that the engine knows of a container."""
    [found] = json.loads(docker("inspect", container))
    return dict(found)


def log_events(container: str, event: str) -> list[dict[str, Any]]:
    """The records of one event in a container's log, oldest first."""
    records = []
    for line in docker("logs", container).splitlines():
        if f'"{event}"' in line:
            records.append(dict(json.loads(line)))
    return records
