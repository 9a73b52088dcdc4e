"""What a worker's processes run: the job consumer in children, maintenance in the sidecar. Entry point, wiring only.

Imported once the metrics' folder is known, because metrics are made at import.
"""

from __future__ import annotations

import sys

from supervisor.lifeline import Lifeline
from supervisor.watch import SidecarWatch
from taskhub.config import Settings
from taskhub.execution import registry
from taskhub.execution.child import run_child
from taskhub.maintenance.sidecar import run_sidecar
from taskhub.metrics import multiprocess
from taskhub.metrics.recorder import JobRecorder, seed


def child(settings: Settings, lifeline: Lifeline) -> int:
    """A child process's whole life; returns its exit status."""
    multiprocess.become(f"w{lifeline.slot}")
    return run_child(settings, registry.load(settings.handlers), JobRecorder(), lifeline)


def sidecar(settings: Settings, watch: SidecarWatch) -> int:
    """The sidecar's whole life; returns its exit status."""
    multiprocess.become("sidecar")

    def queues() -> list[str]:
        known = registry.load(settings.handlers)
        seed((handler.queue, handler.type) for handler in known.handlers())
        return [name for name, _ in settings.queues] or known.queues()

    return run_sidecar(settings, queues, watch, is_quick=all(module in sys.modules for module in settings.handlers))
