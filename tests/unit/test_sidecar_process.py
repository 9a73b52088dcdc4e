"""How the supervisor keeps its sidecar: real forks, with the test's own idea of the time."""

from __future__ import annotations

from pathlib import Path

from supervisor.output_pipes import OutputPipes
from supervisor.shared.file import Memory
from supervisor.sidecar_process import SidecarProcess
from supervisor.signals import Signals
from taskhub import ids
from tests.waiting import wait_until

TURN_S = 0.01


def test_the_pause_before_another_sidecar_doubles_up_to_five_seconds(tmp_path: Path) -> None:
    memory = Memory.create(tmp_path, ids.new_token(), 1)
    sidecar = SidecarProcess(memory, lambda _: 1, Signals(), OutputPipes.handed_over(""), hang_s=60)
    now_s, pauses = 1000.0, []
    for _ in range(9):
        began_s = now_s
        while sidecar.pid is None:
            sidecar.ensure_running(now_s)
            now_s += TURN_S
        pauses.append(now_s - began_s)

        def has_ended(at_s: float = now_s) -> bool:
            sidecar.reap(at_s)
            return sidecar.pid is None

        wait_until(has_ended, 10, "it ends at once")
    memory.remove()
    wanted = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert [0.75 * most <= pause <= most + 2 * TURN_S for most, pause in zip(wanted, pauses[1:], strict=True)] == [
        True
    ] * 8, pauses
