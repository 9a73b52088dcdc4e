"""After this worker was declared dead: execute the program again, under another name, as soon as that can work.

Invariant: nothing of it is tried blindly. The program is tried first in a process that is thrown away, so files that
were removed or broken meanwhile, or a lack of memory or descriptors, are waited out with one line.
"""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.processes import reexecute
from supervisor.reload import TrialCommand
from supervisor.signals import Signals
from supervisor.trial import Verdict
from taskhub import clock
from taskhub.logs import get_logger
from taskhub.outage import Outage

log = get_logger("supervisor")

_LOOK_S = 0.05


def restart_program(command: TrialCommand, environment: Mapping[str, str], signals: Signals) -> None:
    """Re-execute, with this in the environment, once a trial has gone well. Returns only if a stop was asked for."""
    outage = Outage(log, "worker.cannot_begin", "worker.begins", base_s=0.5, cap_s=30.0)
    while not signals.is_stop_wanted():
        try:
            verdict = _tried(command, signals)
            if verdict is None:
                return
            reason = verdict.reason
            if not reason:
                reexecute(environment, [], signals)
        except Exception as error:  # noqa: BLE001 (no file, no descriptors, no memory: it may pass)
            reason = f"{type(error).__name__}: {error}"
        pause_s = outage.lost(f"this worker cannot restart yet; it is tried again after a pause: {reason}")
        ends_s = clock.monotonic_s() + pause_s
        while clock.monotonic_s() < ends_s and not signals.is_stop_wanted():
            signals.sleep(_LOOK_S)


def _tried(command: TrialCommand, signals: Signals) -> Verdict | None:
    """How the trial ended; None if a stop came first."""
    trial = command.begin(signals, clock.monotonic_s())
    while (verdict := trial.verdict(clock.monotonic_s())) is None:
        signals.sleep(_LOOK_S)
        if signals.is_stop_wanted():
            trial.stop()
            return None
    return verdict
