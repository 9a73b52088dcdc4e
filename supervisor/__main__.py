"""`python -m supervisor`, `taskhub worker`: wires the job consumer and the sidecar to the supervisor."""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import sys
import threading
from functools import partial
from pathlib import Path

from supervisor.memory import Memory, needed_bytes
from supervisor.parent import Parent, Programs
from supervisor.reload import Handover, Reload
from supervisor.shutdown import BEGIN_ANEW, DRAINED
from supervisor.signals import Signals
from taskhub import failpoints, ids, installation, logs
from taskhub.config import Settings, SettingsError
from taskhub.execution import registry
from taskhub.execution.setters import watch_setters
from taskhub.metrics import multiprocess as shared_metrics

HANDOVER = "_SUPERVISOR_MEMORY"
REPORT = "_SUPERVISOR_REPORT"
METRICS = "_SUPERVISOR_METRICS"
TRIAL = "--trial"
USAGE, FAILED, HAS_THREADS = 2, 1, 3


def main() -> None:
    """Run a worker until it is told to stop. Exits with 0 after a drain, 2 for settings, 1 for what cannot work."""
    try:
        settings = Settings.load()
        settings.server_urls()
    except SettingsError as error:
        print("\n".join(error.problems), file=sys.stderr)
        sys.exit(USAGE)
    logs.configure(settings, waits=False)
    if TRIAL in sys.argv[1:]:
        sys.exit(_answer_reload(settings))
    sys.exit(_run(settings))


def _run(settings: Settings) -> int:
    log = logs.get_logger("supervisor")
    for warning in settings.warnings:
        log.warning("settings.warning", extra={"text": warning})
    signals = Signals()
    signals.install()
    watch_setters()
    handover = os.environ.pop(HANDOVER, None)
    memory = Memory.handed_over(int(handover)) if handover else _new_memory(settings)
    has_metrics = _keep_metrics(memory.scratch) or handover is not None
    shared_metrics.prepare(memory.scratch, "parent", wipe=not has_metrics)
    tried = _try_handlers(settings, signals)
    if tried not in (0, HAS_THREADS):
        if not handover:  # else children live under it: the next start accounts for them
            memory.remove()
        return DRAINED if signals.is_stop_wanted() else FAILED
    program = importlib.import_module("supervisor.program")  # not before the metrics' folder is known
    installation.read_for_worker()
    if tried == HAS_THREADS:  # a fork would lose them
        log.warning("handlers.threads", extra={"text": "a handler module starts threads: each child imports it anew"})
    else:
        registry.load(settings.handlers)
    failpoints.arm(settings.failpoints)
    gc.collect()
    gc.freeze()  # what is here now is shared with the children; no collection may write to it
    trial = [sys.executable, "-m", "supervisor", TRIAL]
    names = Handover(HANDOVER, REPORT)
    reload = Reload(memory, names, trial, 120.0, signals, is_continued=handover is not None)
    programs = Programs(partial(program.child, settings), partial(program.sidecar, settings))
    status = Parent(settings, memory, programs, reload, signals).run()
    if status == BEGIN_ANEW:
        os.environ[METRICS] = str(memory.scratch)
        signals.keep_for_next_program()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    return status


def _keep_metrics(folder: Path) -> bool:
    """Go on counting where the worker ended that was declared dead; False if this is no such beginning."""
    old = os.environ.pop(METRICS, None)
    if old is None:
        return False
    with contextlib.suppress(OSError):  # an heir of its state may have been faster
        os.rename(old, folder)
    return folder.exists()


def _new_memory(settings: Settings) -> Memory:
    try:
        return Memory.create(settings.state_dir, ids.new_token(), settings.worker_processes)
    except OSError as error:
        room = f"{needed_bytes(settings.worker_processes)} bytes for {settings.worker_processes} slots"
        print(f"TASKHUB_STATE_DIR={settings.state_dir}: no place for {room}: {error.strerror}", file=sys.stderr)
        sys.exit(USAGE)


def _try_handlers(settings: Settings, signals: Signals) -> int:
    """Import the handler modules in a process that is thrown away; returns how the trial ended.

    It tells whether they can be imported, and whether they start threads, without doing either here.
    """
    trial = multiprocessing.get_context("fork").Process(target=_exit_with_trial, args=(settings,), daemon=True)
    trial.start()
    while trial.exitcode is None:
        trial.join(0.05)
        if signals.is_stop_wanted():
            trial.kill()
    return trial.exitcode


def _exit_with_trial(settings: Settings) -> None:
    sys.exit(_trial(settings))


def _answer_reload(settings: Settings) -> int:
    """For a supervisor that thinks of re-executing itself: say what is wrong with the new code, if anything is."""
    try:
        registry.load(settings.handlers)
    except registry.HandlerError as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


def _trial(settings: Settings) -> int:
    """Import the handlers and say how that went: one line and 1 if it fails, 3 if they start threads."""
    try:
        registry.load(settings.handlers)
    except registry.HandlerError as error:
        logs.get_logger("supervisor").error("handlers.failed", extra={"text": str(error)})
        return FAILED
    return HAS_THREADS if threading.active_count() > 1 else 0


if __name__ == "__main__":
    main()
