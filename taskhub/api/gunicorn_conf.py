"""How gunicorn runs the API: `gunicorn --config python:taskhub.api.gunicorn_conf taskhub.wsgi:app`.

Metrics files belong to slots: each worker process gets the lowest number that no living one has, so their
number is bounded however often workers are replaced.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from taskhub import logs
from taskhub.metrics import slot_files
from taskhub.settings.fields import Settings, SettingsError

_DEFER_S = 10
_SPARE_THREADS = 16  # for probes, and for those who wait aside or for their turn
_OTHER_DESCRIPTORS = 100  # than those of connections


def _connections(threads: int) -> int:
    """How many connections each process may have: those that wait and many more, if there are descriptors for them."""
    wanted = max(1000, threads + 500)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < wanted + _OTHER_DESCRIPTORS:  # below zero: no limit
        soft = wanted + _OTHER_DESCRIPTORS if hard < 0 else min(hard, wanted + _OTHER_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft < 0 else max(1, min(wanted, soft - _OTHER_DESCRIPTORS))


try:
    _settings = Settings.load()
    _settings.require_meant_exposure()
except SettingsError as error:
    sys.exit("\n".join(error.problems))

os.environ.pop("SCRIPT_NAME", None)  # gunicorn takes it for a part of every path

bind = [f"[{_settings.http_host}]:{_settings.http_port}" if ":" in _settings.http_host else
        f"{_settings.http_host}:{_settings.http_port}"]  # fmt: skip
worker_class = "taskhub.api.gunicorn_worker.ApiWorker"
workers = _settings.api_processes
threads = _settings.api_threads + _settings.api_waiters + _SPARE_THREADS  # made when they are needed
worker_connections = _connections(threads)
keepalive = 75
timeout = 60
graceful_timeout = int(_settings.wait_max_s) + 5
accesslog = None
errorlog = "-"
loglevel = "warning"
preload_app = False
control_socket_disable = True  # it would be a file outside of our own folders
forwarder_headers = ""  # no header is believed to be a proxy's
secure_scheme_headers: dict[str, str] = {}
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
if Path("/dev/shm").is_dir():  # noqa: S108 (gunicorn makes private files there; a disk could block its heartbeats)
    worker_tmp_dir = "/dev/shm"  # noqa: S108


def on_starting(server: Any) -> None:
    """In the master, before the first fork."""
    logs.configure(_settings)
    _log_like_the_application()
    for warning in _settings.warnings:
        logs.get_logger("taskhub.api").warning("settings.warning", extra={"text": warning})
    slot_files.prepare(_metrics_folder(), "master", wipe=True)


def when_ready(server: Any) -> None:
    """In the master, when it listens. Connections inherit what is set here."""
    for listener in server.LISTENERS:
        if listener.sock.family in (socket.AF_INET, socket.AF_INET6):
            # The kernel keeps a connection on which nothing was sent yet.
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_S)
    text = f"listening on http://{bind[0]}"
    logs.get_logger("taskhub.api").info("api.listening", extra={"text": text, "port": _settings.http_port})


def pre_fork(server: Any, worker: Any) -> None:
    """In the master: choose the slot. A worker is in WORKERS until it has been reaped."""
    taken = {getattr(other, "taskhub_slot", None) for other in server.WORKERS.values()}
    worker.taskhub_slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """In the worker, before the application and with it any metric is imported."""
    slot_files.set_identity(f"api{worker.taskhub_slot}")


def post_worker_init(worker: Any) -> None:
    """In the worker, when the application is there: it shall know when it is told to stop."""
    from taskhub.api import first_look
    from taskhub.api.app import context_of

    context_of(worker.wsgi).is_draining = lambda: not worker.alive
    if worker.taskhub_slot == 0 and worker.age <= workers:  # one of those that begin with the program
        first_look.look(context_of(worker.wsgi))


def _log_like_the_application() -> None:
    """gunicorn's own words go where all others go, in the same form."""
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _metrics_folder() -> Path:
    """One of this port's own, below the state folder where that can be written."""
    folder = _settings.state_dir / f"api-metrics-{_settings.http_port}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="taskhub-api-metrics-"))
    return folder
