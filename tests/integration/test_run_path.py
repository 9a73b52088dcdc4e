"""The way of a batch through a child's code is the one that docs/architecture.md tells, in the order of the calls."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from supervisor.shared.child_link import ChildLink
from supervisor.shared.file import Memory
from supervisor.shared.layout import H_PEERS, H_VALID_UNTIL, now_ns
from taskhub import ids, logs
from taskhub.broker.broker import Broker
from taskhub.child.next_batch import NextBatch
from taskhub.child.program import run_child
from taskhub.handlers import registry
from taskhub.settings.fields import Settings
from taskhub.store.connection import Connection
from tests.harness.forks import fork
from tests.harness.rows import Rows, run
from tests.harness.seed_jobs import place

ROOT = Path(__file__).parents[2]
EVERYWHERE = ("logs/", "settings/", "metrics/", "clock.py", "ids.py", "failpoints.py", "outage.py")
# Behind the doors of adapters and of what is told: the same for all who use them.
BEHIND = {
    "store/connection.py", "store/session.py", "store/statements.py",
    "broker/key_names.py", "broker/redis_client.py", "broker/scripts.py",
    "events/counters.py", "events/log_lines.py",
}  # fmt: skip
FILE = re.compile(r"`(\w+(?:/\w+)+\.(?:py|sql|lua))`")
JOBS, CLAIM = 200, 3  # so many jobs are several claims; this one has a batch before it and one behind it
MOST_STATIONS, MOST_LINES = 14, 200
LOOP = "child/loop.py"  # asks for the claim, and goes on when the batch has run


def lines(name: str) -> int:
    return (ROOT / "taskhub" / name).read_text().count("\n")


def files_of_a_batch(child: Callable[[], object]) -> list[str]:
    """Those whose functions are entered from a claim to the next, as they are entered first."""
    entered: dict[str, None] = {}
    claims = 0

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal claims
        code = frame.f_code
        if event == "call":
            claims += code is NextBatch.claim.__code__
            if claims == CLAIM and code.co_filename.startswith(f"{ROOT}/"):
                entered.setdefault(code.co_filename.removeprefix(f"{ROOT}/").removeprefix("taskhub/"))

    sys.setprofile(note)
    try:
        child()
    finally:
        sys.setprofile(None)
    return [name for name in entered if not name.startswith((*EVERYWHERE, "tests/", ".venv/"))]


def test_a_batch_goes_through_the_files_that_the_map_lists_in_their_order(
    settings: Callable[..., Settings], store: Connection, rows: Rows, broker: Broker, tmp_path: Path
) -> None:
    place(rows, broker, "echo", count=JOBS)
    memory = Memory.create(tmp_path, ids.new_token(), 1)
    memory.header[H_PEERS], memory.header[H_VALID_UNTIL] = 1, now_ns() + 3600 * 10**9
    run(store, "register_worker", worker=memory.worker, host="x", pid=1, version="test", queues=[])
    memory.bank(0, 1).begin(1)
    link = ChildLink(memory, 0, 1)

    def live() -> None:
        own = settings(handlers="", max_jobs_per_child=JOBS, internal_batch_budget_s=5.0)
        logs.configure(own, os.open(os.devnull, os.O_WRONLY))
        link.arrive()
        found = files_of_a_batch(lambda: run_child(own, registry.load([]), link))
        (tmp_path / "entered.json").write_text(json.dumps(found))

    child = fork(live)
    assert os.waitpid(child, 0)[1] == 0
    assert rows.counts() == {"completed": JOBS}
    entered = json.loads((tmp_path / "entered.json").read_text())
    text = (ROOT / "docs/architecture.md").read_text()
    [steps, asked] = re.findall(r"\*\*Run\*\*[^\n]*\n(.*?)\nAsked on the way(.*?)\n\n", text, re.DOTALL)[0]
    stations, others = list(dict.fromkeys(FILE.findall(steps))), set(FILE.findall(asked))
    code = [name for name in stations if name.endswith(".py")]
    assert set(entered) - BEHIND == {*code, *others}
    assert [LOOP, *(name for name in entered if name in stations and name != LOOP)] == code
    assert len(stations) <= MOST_STATIONS
    assert {name for name in stations if lines(name) > MOST_LINES} == set()
