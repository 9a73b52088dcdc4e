"""`python -m supervisor`, `taskhub worker`: wires the job consumer and the sidecar to the supervisor."""

from __future__ import annotations

import gc
import signal

gc.disable()  # imports make nothing but what stays: looking through it again and again is a fifth of the start
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a queue for it: all that it asks for is yet to be read

import contextlib
import importlib
import os
import sys
from functools import partial
from pathlib import Path

from supervisor import boot
from supervisor.children import Programs
from supervisor.output_pipes import OutputPipes
from supervisor.processes import fill_standard_descriptors
from supervisor.reload import Handover, Reload, TrialCommand
from supervisor.restart import restart_program
from supervisor.shared.file import Memory
from supervisor.shared.layout import needed_bytes
from supervisor.shutdown import DRAINED, RESTART
from supervisor.signals import Signals
from supervisor.supervisor import Supervisor
from taskhub import failpoints, ids, installation, logs
from taskhub.child.exits import watch_exits
from taskhub.child.setters import watch_setters
from taskhub.handlers import import_check
from taskhub.metrics import slot_files as shared_metrics
from taskhub.settings.fields import Settings, SettingsError

HANDOVER = "_SUPERVISOR_MEMORY"
REPORT = "_SUPERVISOR_REPORT"
OUTPUTS = "_SUPERVISOR_OUTPUTS"
METRICS = "_SUPERVISOR_METRICS"
TRIAL = "--trial"
USAGE, FAILED = 2, 1


def main() -> None:
    """Run a worker until it is told to stop. Exits with 0 after a drain, 2 for settings, 1 for what cannot work."""
    fill_standard_descriptors()
    try:
        settings = Settings.load()
        settings.server_urls()
    except SettingsError as error:
        print("\n".join(error.problems), file=sys.stderr)
        sys.exit(USAGE)
    logs.configure(settings, waits=False)
    if TRIAL in sys.argv[1:-1]:
        sys.exit(_answer_reload(settings, int(sys.argv[-1])))
    sys.exit(_run(settings))


def _run(settings: Settings) -> int:
    log = logs.get_logger("supervisor")
    for warning in settings.warnings:
        log.warning("settings.warning", extra={"text": warning})
    signals = Signals()
    signals.install()
    watch_setters()
    watch_exits()
    handover = os.environ.pop(HANDOVER, None)
    memory = Memory.handed_over(int(handover)) if handover else _new_memory(settings)
    outputs = OutputPipes.handed_over(os.environ.pop(OUTPUTS, ""))
    has_metrics = _keep_metrics(memory.scratch) or handover is not None
    shared_metrics.prepare(memory.scratch, "parent", wipe=not has_metrics)
    run = importlib.import_module("supervisor.programs")  # not before the metrics' folder is known
    installation.read_for_worker()
    gc.enable()
    report = boot.handed_over(int(os.environ.pop(REPORT))) if handover else boot.try_handlers(settings, signals)
    is_continued = handover is not None
    handlers = boot.import_handlers(settings, signals, report, is_continued=is_continued) if report else None
    if handlers is None:
        memory.remove()
        return DRAINED if signals.is_stop_wanted() else FAILED
    if not boot.fits_memory_limits(settings, is_continued=is_continued):
        memory.remove()
        return USAGE
    failpoints.arm(settings.failpoints)
    command = TrialCommand([sys.executable, "-m", "supervisor", TRIAL], settings.timers.import_s, import_check.WELL)
    names = Handover(HANDOVER, REPORT, OUTPUTS)
    reload = Reload(memory, names, command, signals, outputs, is_continued=is_continued)
    programs = Programs(partial(run.child, settings), partial(run.sidecar, settings, handlers.types), handlers.boot_s)
    status = Supervisor(settings, memory, programs, reload, signals, outputs).run()
    if status == RESTART:
        restart_program(command, {METRICS: str(memory.scratch)}, signals)
        return DRAINED
    return status


def _keep_metrics(folder: Path) -> bool:
    """Go on counting where the worker ended that was declared dead; False if this is no such beginning."""
    old = os.environ.pop(METRICS, None)
    if old is None:
        return False
    with contextlib.suppress(OSError):  # a successor of its state may have been faster
        os.rename(old, folder)
    return folder.exists()


def _new_memory(settings: Settings) -> Memory:
    try:
        return Memory.create(settings.state_dir, ids.new_token(), settings.worker_processes)
    except OSError as error:
        room = f"{needed_bytes(settings.worker_processes)} bytes for {settings.worker_processes} slots"
        print(
            f"TASKHUB_STATE_DIR={settings.state_dir}: cannot allocate {room} there: {error.strerror}", file=sys.stderr
        )
        sys.exit(USAGE)


def _answer_reload(settings: Settings, report: int) -> int:
    """For a supervisor that thinks of re-executing itself: say what is wrong with the new code, if anything is."""
    shared_metrics.leave()
    importlib.import_module("supervisor.programs")
    gc.enable()
    return import_check.run(settings.handlers, report)


if __name__ == "__main__":
    main()
