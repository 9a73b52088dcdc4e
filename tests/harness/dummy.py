"""A supervisor over children that know nothing of jobs: `python -m tests.harness.dummy`.

What a child does is in the file `slot-<n>` of the folder that the environment names, read once a turn:
`idle`, `busy` (a task without end), `exit:<status>`, `hang` (silent for ever), `stuck` (overdue where no
SIGSTOP is heard), `orphan` (leaves orphans).
"""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from pathlib import Path

from supervisor.output_pipes import OutputPipes
from supervisor.reload import Handover, Reload, TrialCommand
from supervisor.shared.child_link import ChildLink
from supervisor.shared.file import Memory
from supervisor.shared.sidecar_link import SidecarLink
from supervisor.signals import Signals
from supervisor.supervisor import Programs, Supervisor
from taskhub import failpoints, ids, logs
from taskhub.settings.fields import Settings
from taskhub.sidecar.raw_output import RawOutput

log = logs.get_logger("taskhub.dummy")

VARIABLE = "DUMMY_FOLDER"
_HANDOVER = "_DUMMY_MEMORY"
_REPORT = "_DUMMY_REPORT"
_OUTPUTS = "_DUMMY_OUTPUTS"
_TURN_S = 0.01


def target(link: ChildLink) -> int:
    """A child: does as its file says until it is unwanted."""
    orders = Path(os.environ[VARIABLE]) / f"slot-{link.slot}"
    signal.signal(signal.SIGUSR2, lambda *_: None)
    link.idle()
    log.info("dummy.works", extra={"slot": link.slot})
    while link.is_wanted():
        order, _, argument = (orders.read_text() if orders.exists() else "idle").partition(":")
        if order == "exit":
            os._exit(int(argument))
        elif order == "busy":
            _work(link, orders)
        elif order == "idle":
            link.idle()
        elif order == "stuck":
            _get_stuck(link, orders.with_name("fifo"))
        elif order == "orphan":
            _leave_an_orphan()
        time.sleep(_TURN_S)
    link.leaving()
    return 0


def _work(link: ChildLink, orders: Path) -> None:
    """One task, as long as the file says so."""
    link.begin(uuid.uuid4().bytes, 3600)
    while orders.read_text() == "busy":
        time.sleep(_TURN_S)
    link.end()


def _get_stuck(link: ChildLink, fifo: Path) -> None:
    """A task whose time is over, in a system call that SIGSTOP does not end: the wait for a vfork's other half."""
    link.begin(uuid.uuid4().bytes, 0)
    os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, str(fifo), os.O_RDONLY, 0)])


def _leave_an_orphan() -> None:
    """Start a process whose parent ends before it does."""
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            time.sleep(0.3)
        os._exit(0)
    os.waitpid(between, 0)
    log.info("dummy.orphaned")


def sidecar(link: SidecarLink) -> int:
    """Takes every death as accounted for, and tells what the children print."""
    failpoints.hit("dummy.sidecar")
    output = RawOutput(link.outputs, link.latest_task, wait_s=0)
    while link.should_run():
        for record in link.all():
            if record.is_dead and record.is_unconfirmed:
                record.confirm()
        link.tick()
        link.wait(0.05)
        output.step()
    link.remove()
    return 0


def main() -> int:
    settings = Settings.load()
    logs.configure(settings, waits=False)
    failpoints.arm(settings.failpoints)
    handover = os.environ.pop(_HANDOVER, None)
    if handover:
        memory = Memory.handed_over(int(handover))
    else:
        memory = Memory.create(settings.state_dir, ids.new_token(), settings.worker_processes)
    trial = [sys.executable, "-c", os.environ.get("DUMMY_TRIAL", "")]
    signals = Signals()
    signals.install()
    if report := os.environ.pop(_REPORT, None):
        os.close(int(report))
    outputs = OutputPipes.handed_over(os.environ.pop(_OUTPUTS, ""))
    names, attempt = Handover(_HANDOVER, _REPORT, _OUTPUTS), TrialCommand(trial, 60.0, 0)
    reload = Reload(memory, names, attempt, signals, outputs, is_continued=bool(handover))
    return Supervisor(settings, memory, Programs(target, sidecar), reload, signals, outputs).run()


if __name__ == "__main__":
    sys.exit(main())
