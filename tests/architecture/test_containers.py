"""What can be held about the images and Compose files without an engine; scripts/test-containers shows the rest."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from taskhub.settings.fields import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = [ROOT / "docker" / "Dockerfile", ROOT / "docker" / "gateway" / "Dockerfile"]
COMPOSE = (ROOT / "compose" / "docker-compose.yml").read_text()
PRODUCTION = (ROOT / "compose" / "production.yml").read_text()
VALUES = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / "compose" / ".env").read_text(), re.MULTILINE))
LOCKED = (ROOT / "docker" / "requirements.txt").read_text()

each_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))


def package() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@each_dockerfile
def test_every_external_stage_takes_the_same_base(path: Path) -> None:
    text = path.read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
    bases = [base for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE) if base not in stages]
    assert bases
    assert set(bases) == {"${PYTHON_IMAGE:-" + VALUES["PYTHON_IMAGE"] + "}"}


@each_dockerfile
def test_images_run_as_somebody_without_a_shell_between(path: Path) -> None:
    text = path.read_text()
    assert {int(uid) >= 10000 for uid in re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)} == {True}
    starts = re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$|^HEALTHCHECK .*CMD (.*)$", text, re.MULTILINE)
    assert starts
    assert all("".join(start).startswith('["') for start in starts)


@each_dockerfile
def test_each_final_stage_has_a_health_check_a_signal_and_labels(path: Path) -> None:
    text = path.read_text()
    ends = len(re.findall(r"^ENTRYPOINT", text, re.MULTILINE))
    for instruction in ("HEALTHCHECK", "STOPSIGNAL", "EXPOSE", r"LABEL org\.opencontainers\.image\.title"):
        assert len(re.findall(f"^{instruction}", text, re.MULTILINE)) == ends, instruction
    assert f'image.version="{package()["metadata"]["version"]}"' in text


def test_the_build_sees_only_what_it_needs() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert not any(name in line for line in lines for name in (".git", ".env", "tests"))


def test_every_locked_package_is_pinned_and_hashed() -> None:
    entries = re.findall(
        r"^([a-z0-9][^\s=]*)==\S+(?: ;[^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", LOCKED, re.M
    )
    lines = [line for line in LOCKED.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(entries) == len(lines) > 10
    assert "://" not in LOCKED, "a lock file that names an index works only where that is reached"


def test_everything_that_taskhub_needs_is_locked() -> None:
    needed = re.findall(r"^([a-z0-9-]+)", package()["options"]["install_requires"].strip(), re.MULTILINE)
    assert [name for name in needed if not re.search(f"^{name}==", LOCKED, re.MULTILINE)] == []


def test_ports_are_published_on_the_loopback_address_only() -> None:
    published = re.findall(r'"([^"/]*):\d+"', COMPOSE)
    assert published
    assert all(port.startswith("127.0.0.1:${") for port in published)
    assert "ports:" not in PRODUCTION


def test_compose_uses_every_value_and_has_every_value_it_uses() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE))
    assert used == set(VALUES)


def test_production_takes_nothing_secret_from_the_development_values() -> None:
    assert "PASSWORD}" not in PRODUCTION
    for variable in re.findall(r"^ +(\w+): \S*\$\{[A-Z]+_PASSWORD\}", COMPOSE, re.MULTILINE):
        assert f'      {variable}: ""' in PRODUCTION or f'  {variable}: ""' in PRODUCTION, variable
    assert section_of("redis", PRODUCTION).count("$$(cat /run/secrets/redis_password)") == 2


def test_containers_are_given_more_time_than_the_drain_takes() -> None:
    defaults = Settings.load({})
    worker, api = (section_of(name) for name in ("worker", "api"))
    assert grace_s(worker) >= float(VALUES["TASKHUB_DRAIN_S"]) + 5
    assert grace_s(api) >= defaults.wait_max_s + 5
    gateway = (ROOT / "docker" / "gateway" / "haproxy.cfg").read_text()
    [server_s] = re.findall(r"^ +timeout server (\d+)s$", gateway, re.MULTILINE)
    assert int(server_s) > defaults.wait_max_s


def section_of(service: str, compose: str = COMPOSE) -> str:
    [text] = re.findall(rf"^  {service}:\n((?:    .*\n|\n)+)", compose, re.MULTILINE)
    return str(text)


def grace_s(section: str) -> float:
    [seconds] = re.findall(r"stop_grace_period: (\d+)s", section)
    return float(seconds)
