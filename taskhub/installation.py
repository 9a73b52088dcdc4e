"""The files of this installation that a process may need, all read at its start.

A deploy may replace or remove them under a running process: from then on it goes by what it has in memory,
and needs none of them again before it is told to reload.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

from taskhub.broker import scripts
from taskhub.store import migrations, statements

_EVERYWHERE = (
    "taskhub.domain",
    "taskhub.store",
    "taskhub.broker",
    "taskhub.metrics",
    "taskhub.events",
    "taskhub.services",
)
_OF_WORKERS = (
    "taskhub.child",
    "taskhub.handlers",
    "taskhub.maintenance",
    "taskhub.roles",
    "taskhub.sidecar",
    "supervisor",
)
_OF_THE_API = ("taskhub.handlers", "taskhub.api")
# What the standard library and the drivers import in the middle of their work.
_IMPORTED_LATE = (
    "concurrent.futures.thread",  # the first pool of threads
    "decimal",  # psycopg2: the first numeric
    "encodings.ascii",  # the first file of /proc
    "encodings.idna",  # the first name of a host
    "encodings.latin_1",
    "encodings.raw_unicode_escape",
    "encodings.unicode_escape",
    "hmac",  # psycopg2 and redis-py
    "secrets",  # redis-py: the first pool of connections
    "stringprep",
)
_PROGRAMS = ("__main__", "gunicorn_conf")  # importing them would run them
_WITH_A_HANDLER = ("of_marshmallow", "of_pydantic")  # each with the handler that has imported its library


def read_for_worker() -> None:
    """For a supervisor, before it forks."""
    _read([*_EVERYWHERE, *_OF_WORKERS], _IMPORTED_LATE)


def read_for_api() -> None:
    """For a process of the API, before its first request."""
    _read([*_EVERYWHERE, *_OF_THE_API], _IMPORTED_LATE)


def _read(packages: Iterable[str], late: Iterable[str]) -> None:
    for package in packages:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.rpartition(".")[2] not in _PROGRAMS + _WITH_A_HANDLER:
                importlib.import_module(module.name)
    for name in late:
        importlib.import_module(name)
    statements.load_all()
    scripts.load_all()
    migrations.available()
