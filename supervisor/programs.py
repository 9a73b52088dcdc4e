"""What a worker's processes run: the job consumer in children, maintenance in the sidecar. Entry point, wiring only.

Imported once the metrics' folder is known, because metrics are made at import.
"""

from __future__ import annotations

from supervisor.processes import restore_child_state
from supervisor.shared.child_link import ChildLink
from supervisor.shared.sidecar_link import SidecarLink
from taskhub.child.program import run_child
from taskhub.handlers import registry
from taskhub.metrics import slot_files
from taskhub.metrics.recorder import seed
from taskhub.settings.fields import Settings
from taskhub.sidecar.program import run_sidecar


def child(settings: Settings, link: ChildLink) -> int:
    """A child process's whole life; returns its exit status."""
    slot_files.set_identity(f"w{link.slot}")
    known = registry.load(settings.handlers)  # the supervisor has, unless they are not to be shared
    restore_child_state()
    link.waiting()
    return run_child(settings, known, link)


def sidecar(settings: Settings, types: tuple[tuple[str, str], ...], link: SidecarLink) -> int:
    """The sidecar's whole life; returns its exit status. It imports no handler: `types` are theirs, by queue."""
    slot_files.set_identity("sidecar")
    seed(types)
    queues = [name for name, _ in settings.queues] or sorted({queue for queue, _ in types})
    return run_sidecar(settings, queues, link)
