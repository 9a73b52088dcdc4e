"""What the checks share: the project under test, its client, a folder of handlers, and who runs what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.client import Client
from containers.stack import Stack
from containers.waiting import require, wait_until

HANDLER = '''"""Written by scripts/test-containers."""

from taskhub import handler


@handler("shop.version")
def version(job):
    """Tell which edition of this file runs."""
    return {{"edition": {edition}}}
'''


@dataclass
class World:
    stack: Stack
    client: Client
    folder: Path

    def write_handlers(self, edition: int, folder: str = "handlers") -> Path:
        """The module `shop`, readable by everybody; returns its folder."""
        place = self.folder / folder
        place.mkdir(mode=0o755, exist_ok=True)
        (place / "shop.py").write_text(HANDLER.format(edition=edition))
        return place

    def run_version(self) -> int:
        """Submit a job of the type `shop.version`; which edition has run it."""
        job_id = self.client.submit("shop.version")
        self.client.wait([job_id], 15)
        return int(self.client.job(job_id)["result"]["edition"])

    def start_sleepers(self, number: int, seconds: float) -> list[str]:
        """Jobs that are all running when this returns."""
        ids = [self.client.submit("sleep", seconds=seconds) for _ in range(number)]
        wait_until(
            lambda: all(self.client.job(job_id)["status"] == "running" for job_id in ids), 15, f"{number} jobs running"
        )
        return ids

    def jobs(self, ids: list[str]) -> list[dict[str, Any]]:
        return [self.client.job(job_id) for job_id in ids]

    def container_of(self, job_id: str) -> str:
        """The container whose worker runs the job."""
        worker = self.client.job(job_id)["worker"]["id"]
        [[host]] = self.stack.sql(f"SELECT host FROM workers WHERE id = '{worker}'")
        return next(container for container in self.stack.containers("worker") if container.startswith(host))

    def held_by(self, container: str, ids: list[str]) -> list[str]:
        """Those of the jobs that this container's worker runs."""
        return [job_id for job_id in ids if self.container_of(job_id) == container]

    def require_undisturbed(self, ids: list[str]) -> None:
        """Each has run once, to its end."""
        for job in self.jobs(ids):
            told = {name: job[name] for name in ("status", "attempts", "crashes", "interruptions")}
            wanted = {"status": "completed", "attempts": 1, "crashes": 0, "interruptions": 0}
            require(told == wanted, f"job {job['id']}: {told}")

    def wait_healthy(self, service: str, number: int, within_s: float = 60) -> None:
        """Until so many containers of a service are healthy."""

        def healthy() -> bool:
            told = self.stack.compose("ps", "--format", "{{.Health}}", service)
            return told.split().count("healthy") == number

        wait_until(healthy, within_s, f"{number} x {service} healthy", every_s=0.3)
