"""The way of a job through a child, as docs/architecture.md lists it: few files, each of them short."""

from __future__ import annotations

import re

from tests.architecture.sources import ROOT

STATIONS, LINES = 15, 200
RUN = re.compile(r"^\*\*Run\*\*[^\n]*\n(.*?)^Asked on the way", re.M | re.S)
IN_NEED = re.compile(r"\(While\s.*?\)|^15\. .*", re.M | re.S)  # without Redis; with nothing to claim
MODULE = re.compile(r"`([a-z]+/[\w/]+\.py)`")


def test_the_way_from_claim_to_settlement_is_a_short_list_of_short_files() -> None:
    [listed] = RUN.findall((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    names = set(MODULE.findall(IN_NEED.sub("", listed)))
    assert "child/loop.py" in names
    assert len(names) <= STATIONS
    paths = [ROOT / ("" if name.startswith("supervisor/") else "taskhub") / name for name in names]
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in paths}
    assert {name: lines for name, lines in lengths.items() if lines > LINES} == {}
