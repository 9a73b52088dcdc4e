"""From settings to what the forked processes run: the handlers are tried first, and imported where that is safe.

The supervisor imports them itself, so that children share the memory, unless they leave something behind or,
while children of an older program are at work, take long: then each child imports them for itself. What they print
is told of the trial, as a line of the log; here it goes nowhere, so it breaks no line and waits for no reader.
"""

from __future__ import annotations

import gc
import math
import os
from typing import NamedTuple

from supervisor.processes import discarding_output, rss_mb, spawn
from supervisor.signals import Interrupted, Signals
from supervisor.trial import Trial, Verdict
from taskhub import clock
from taskhub.handlers import import_check, registry
from taskhub.handlers.import_check import Report
from taskhub.logs import get_logger
from taskhub.settings.fields import Settings

log = get_logger("supervisor")

_QUICK_S = 1.0  # so long the loop may stand still
_LONG_S = 5.0  # after so long it is told what a start waits for
_LOOK_S = 0.05
_REPORT_BYTES = 2**20


class Handlers(NamedTuple):
    """What is known of them. `boot_s`: a child may be silent for so long, because it imports them."""

    types: tuple[tuple[str, str], ...]
    boot_s: float


def try_handlers(settings: Settings, signals: Signals) -> Report | None:
    """Try the handlers before anything else begins; None if that failed, which is logged, or was stopped."""
    if not settings.handlers:
        return Report()

    def run(output: int, report: int) -> int:
        for number in (1, 2):
            os.dup2(output, number)
        return import_check.run(settings.handlers, report)

    def start(output: int, report: int) -> int:
        return spawn(lambda: run(output, report), signals)

    began_s = clock.monotonic_s()
    trial = Trial(start, settings.timers.import_s, began_s, wanted=import_check.WELL)
    logged_at_s = began_s + _LONG_S
    while (verdict := trial.verdict(clock.monotonic_s())) is None:
        if clock.monotonic_s() > logged_at_s:
            log.warning("handlers.slow", extra={"text": f"after {_LONG_S:.0f} s still {trial.doing()}"})
            logged_at_s = math.inf
        signals.sleep(_LOOK_S)
        if signals.is_stop_wanted():
            trial.stop()
            return None
    return _report(verdict)


def handed_over(descriptor: int) -> Report:
    """What the trial before the re-execution has found."""
    try:
        return Report.read(os.pread(descriptor, _REPORT_BYTES, 0))
    finally:
        os.close(descriptor)


def import_handlers(settings: Settings, signals: Signals, report: Report, *, is_continued: bool) -> Handlers | None:
    """Import them here if that is safe. None if a stop came meanwhile, or if they cannot be imported after all."""
    limit_s = settings.timers.import_s
    for module, left in report.left_behind:
        text = (
            f"{module} {', '.join(left)} when it is imported: each child imports it for itself; do that in the handler"
        )
        log.warning("handlers.imported_by_children", extra={"module_name": module, "text": text})
    if report.left_behind:
        return Handlers(report.types, limit_s)
    if is_continued and report.seconds > _QUICK_S:
        return _left_to_children(f"they take {report.seconds:.0f} s to import", report, limit_s)
    within_s = min(limit_s, _LONG_S) if is_continued else limit_s  # nobody looks after the children meanwhile
    try:
        with discarding_output(), signals.interrupting(within_s):
            known = registry.load(settings.handlers)
    except Interrupted:
        if signals.is_stop_wanted() and not is_continued:
            return None
        return _left_to_children(f"their import took longer than {within_s:.0f} s here", report, limit_s)
    except registry.HandlerError as error:
        log.error("handlers.failed", extra={"text": str(error)})
        return Handlers(report.types, limit_s) if is_continued else None
    gc.collect()
    gc.freeze()  # what is here now is shared with the children; no collection may write to it
    return Handlers(tuple((handler.queue, handler.type) for handler in known.handlers()), 0.0)


def _left_to_children(why: str, report: Report, limit_s: float) -> Handlers:
    log.warning("handlers.imported_by_children", extra={"text": f"{why}: each child imports them for itself"})
    return Handlers(report.types, limit_s)


def fits_memory_limits(settings: Settings, *, is_continued: bool) -> bool:
    """False, logged, if each child would exceed its hard limit before its first job, and lose every job to it.

    What this process has in use now, a child has from its beginning.
    """
    used_mb = rss_mb(os.getpid())
    for name, limit_mb in (("MAX", settings.max_rss_mb), ("HARD", settings.hard_rss_mb)):
        if limit_mb and used_mb > limit_mb:
            text = f"TASKHUB_{name}_RSS_MB={limit_mb} is too low: a child needs {used_mb:.0f} MB before its first job"
            is_fatal = name == "HARD" and not is_continued
            log.log(40 if is_fatal else 30, "memory.limit_too_low", extra={"text": text})
            if is_fatal:
                return False
    return True


def _report(verdict: Verdict) -> Report | None:
    verdict.tell()
    if verdict.reason:
        log.error("handlers.failed", extra={"text": verdict.reason})
        return None
    return Report.read(verdict.report)
