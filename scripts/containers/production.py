"""The check of compose/production.yml: passwords in files, and nothing of the development values left."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from containers.client import Client
from containers.stack import BASE_FILE, PRODUCTION_FILE, Stack, inspect
from containers.waiting import require
from containers.world import World

DEVELOPMENT = ("development",)


def production(world: World) -> str:
    """Up with secret files, a job, and no password where it can be read from outside."""
    folder, words = _write_secrets(world.folder / "secrets")
    settings = {name: world.stack.environ[name] for name in ("TASKHUB_WORKER_PROCESSES",)}
    stack = Stack(f"{world.stack.project}-production", {**settings, "SECRETS_DIR": str(folder)}, FILES)
    told = json.dumps(stack.config())
    require(not any(value in told for value in DEVELOPMENT), "the configuration holds a development value")
    client = Client(stack.api_url)
    try:
        stack.compose("up", "-d")
        ids = client.submit_many(20, "demo", value=4)
        client.wait(ids, 30)
        for container in stack.all_containers():
            described = json.dumps(inspect(container)["Config"])
            require(not any(word in described for word in words), "a container's description shows a password")
        processes = stack.compose("top")
        require(not any(word in processes for word in words), "a process's arguments show a password")
    finally:
        stack.down()
    return "20 jobs completed; no password in configuration, descriptions or arguments"


FILES = (BASE_FILE, PRODUCTION_FILE)


def _write_secrets(folder: Path) -> tuple[Path, list[str]]:
    """The files that production.yml asks for; returns their folder and the passwords."""
    folder.mkdir(mode=0o700)
    postgres, redis, grafana = words = [secrets.token_urlsafe(24) for _ in range(3)]
    values = {
        "postgres_password": postgres,
        "redis_password": redis,
        "grafana_password": grafana,
        "database_url": f"postgresql://taskhub:{postgres}@postgres:5432/taskhub",
        "redis_url": f"redis://:{redis}@redis:6379/0",
    }
    for name, value in values.items():
        (folder / name).write_text(value + "\n")
        (folder / name).chmod(0o444)
    return folder, words
