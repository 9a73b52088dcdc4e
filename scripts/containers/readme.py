"""The check that what README.md and docs/containers.md print works as printed."""

from __future__ import annotations

import os
import re
import subprocess

from containers.stack import ROOT
from containers.waiting import Failed, require
from containers.world import World

PAGES = ("README.md", "docs/containers.md")
STARTS = "docker compose -f compose/docker-compose.yml up -d --build"
_SECTION = re.compile(r"^#+ .*?(?=^#|\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines_work(world: World) -> str:
    """Each page's section that starts the platform, its blocks run one after the other, with this project's ports."""
    told = []
    for page in PAGES:
        lines = _commands((ROOT / page).read_text())
        require(lines, f"{page} does not tell how to start the platform")
        output = _run(world, "\n".join(lines))
        require('"status":"completed"' in output, f"{page}: no job is completed at the end: {output[-300:]}")
        world.client.accepted += set(re.findall(r'^\{"id":"([^"]+)"', output, re.MULTILINE))
        told.append(f"{page}: {len(lines)} blocks")
    world.stack.compose("up", "-d", "--scale", "worker=1")
    return ", ".join(told)


def _commands(text: str) -> list[str]:
    sections = [section for section in _SECTION.findall(text) if STARTS in section]
    return _BLOCK.findall(sections[0]) if sections else []


def _run(world: World, commands: str) -> str:
    environ = world.stack.environ
    for port, variable in (("8080", "API_PORT"), ("9091", "METRICS_PORT"), ("9090", "PROMETHEUS_PORT")):
        commands = commands.replace(f"localhost:{port}", f"localhost:{environ[variable]}")
    done = subprocess.run(
        ["sh", "-eu", "-c", commands],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, **environ, "COMPOSE_PROJECT_NAME": world.stack.project},
    )
    if done.returncode:
        raise Failed((done.stderr or done.stdout)[-600:])
    return done.stdout
