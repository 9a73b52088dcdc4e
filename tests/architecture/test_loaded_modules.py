"""What each program has loaded before it does anything: a start costs what it imports. It is counted, and not timed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.architecture.sources import ROOT

_TELL = """
import json, sys
before = set(sys.modules)
{code}
loaded = sorted(set(sys.modules) - before)
print(json.dumps([[name, getattr(sys.modules[name], "__file__", None) or ""] for name in loaded]))
"""
_COMMAND = "import taskhub.cli.main, taskhub.cli.programs.{}"
_WORKER = """
import supervisor.__main__, supervisor.programs
from taskhub import installation
from taskhub.handlers import registry
installation.read_for_worker()
registry.load([])
"""
_SETTINGS = {"TASKHUB_DATABASE_URL": "postgresql://127.0.0.1/x", "TASKHUB_REDIS_URL": "redis://127.0.0.1/0"}


class Program(NamedTuple):
    """`libraries`: those of others that it may have; `modules`: how many of ours, at the most, and room for a few."""

    code: str
    libraries: set[str]
    modules: int
    may_have_asyncio: bool = False


PROGRAMS = {
    "import taskhub": Program("import taskhub", set(), 1),
    "a program that submits": Program("from taskhub import Producer", {"orjson", "psycopg2"}, 75),
    "a program that calls the API": Program("from taskhub import Client", set(), 10),
    "a module of handlers": Program("from taskhub import Fail, Retry, handler", {"orjson"}, 40),
    "taskhub --help": Program("import taskhub.cli.main", {"click"}, 20),
    "taskhub worker": Program(_COMMAND.format("worker"), {"click"}, 23),
    "taskhub api": Program(_COMMAND.format("api"), {"click"}, 23),
    "taskhub migrate": Program(_COMMAND.format("migrate"), {"click", "psycopg2"}, 32),
    "taskhub dev": Program(_COMMAND.format("dev"), {"click", "orjson", "psycopg2"}, 70),
    "taskhub check": Program(
        _COMMAND.format("check"),
        {"click", "psycopg2", "redis", "hiredis", "opentelemetry", "orjson"},
        66,
        may_have_asyncio=True,
    ),
    "a worker": Program(
        _WORKER,
        {"hiredis", "opentelemetry", "orjson", "prometheus_client", "psycopg2", "redis"},
        215,
        may_have_asyncio=True,  # its port is served by it, and redis-py imports it in any case
    ),
    "a process of the API": Program(
        "import taskhub.wsgi",
        {
            *("blinker", "click", "flask", "gunicorn", "itsdangerous", "jinja2", "markupsafe", "werkzeug"),
            *("hiredis", "opentelemetry", "orjson", "packaging", "prometheus_client", "psycopg2"),
            *("pythonjsonlogger", "redis"),
        },
        150,
        may_have_asyncio=True,
    ),
}


def loaded(code: str) -> dict[str, str]:
    """The modules that a new interpreter has because of `code`, each with its file."""
    command = [sys.executable, "-c", _TELL.format(code=code)]
    told = subprocess.run(command, cwd=ROOT, env=_SETTINGS, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    return dict(json.loads(told.stdout))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_loads_what_it_uses_and_no_more(program: str) -> None:
    found, allowed = loaded(PROGRAMS[program].code), PROGRAMS[program]
    ours = [name for name in found if name.split(".")[0] in ("taskhub", "supervisor")]
    others = {name.split(".")[0] for name, file in found.items() if "site-packages" in file}
    assert others - allowed.libraries == set()
    assert len(ours) <= allowed.modules, f"{len(ours)} modules of ours: {' '.join(ours)}"
    assert allowed.may_have_asyncio or "asyncio" not in found
