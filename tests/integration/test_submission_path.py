"""The way of one submission through the code is short, and is the one that docs/architecture.md tells."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from flask import Flask

from taskhub.api.app import context_of, create_app
from taskhub.handlers import registry
from taskhub.settings.fields import Settings

ROOT = Path(__file__).parents[2]
CODE = f"{ROOT}/taskhub/"
EVERYWHERE = ("logs/", "settings/", "metrics/", "clock.py", "ids.py", "failpoints.py", "outage.py")
# Behind the doors of adapters and of what is told: the same for all who use them.
BEHIND = {
    "store/connection.py", "store/session.py", "store/statements.py",
    "broker/key_names.py", "broker/redis_client.py", "broker/scripts.py",
    "events/counters.py", "events/log_lines.py",
}  # fmt: skip
MOST_STATIONS, MOST_LINES = 12, 200
FILE = re.compile(r"`(\w+(?:/\w+)+\.(?:py|sql|lua))`")


@pytest.fixture
def app(settings: Callable[..., Settings]) -> Iterator[Flask]:
    made = create_app(settings(), registry.load([]))
    context_of(made).is_draining = bool
    yield made
    context_of(made).close()


def files_entered(app: Flask) -> set[str]:
    """Those whose functions a request runs, in a process that has answered such requests before."""
    entered: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(CODE):
            entered.add(frame.f_code.co_filename.removeprefix(CODE))

    client = app.test_client()
    for profile in (None, None, note):
        sys.setprofile(profile)
        try:
            answer = client.post("/jobs", json={"payload": {"type": "demo"}})
        finally:
            sys.setprofile(None)
        assert answer.status_code == 202
    return {name for name in entered if not name.startswith(EVERYWHERE)}


def test_a_submission_goes_through_the_files_that_the_map_lists(app: Flask) -> None:
    entered = files_entered(app)
    text = (ROOT / "docs/architecture.md").read_text()
    [steps, asked] = re.findall(r"\*\*Submit\*\*[^\n]*\n(.*?)\nAsked on the way(.*?)\*\*Run\*\*", text, re.DOTALL)[0]
    stations, others = set(FILE.findall(steps)), set(FILE.findall(asked))
    assert entered - BEHIND == {name for name in stations | others if name.endswith(".py")}
    assert len(stations) <= MOST_STATIONS
    assert {
        name for name in entered | stations if (ROOT / "taskhub" / name).read_text().count("\n") > MOST_LINES
    } == set()
