"""The rounds as one table: medians, and beside them the median of the ratios to ours in the same round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from guarantees import GUARANTEES
from rich.table import Table

Rounds = Mapping[str, Sequence[Mapping[str, float]]]  # by side, one set of figures a round

COLUMNS = ("submit/s", "many/s", "drain/s", "p50 ms", "p99 ms", "MiB")


def comparison(title: str, rounds: Rounds, versions: Mapping[str, str], ours: str) -> Table:
    table = Table(title=title, caption="in brackets: that side / ours in the same round; * stopped before the end")
    table.add_column("")
    table.add_column("version")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for side, runs in rounds.items():
        cells = [_cell(column, runs, rounds[ours], is_ours=side == ours) for column in COLUMNS]
        table.add_row(side, versions.get(side, ""), *cells)
    return table


def guarantees(packages: set[str]) -> Table:
    table = Table(title="guarantees, by each one's documentation", show_lines=True)
    for column in ("", "durable submit", "all of Redis lost", "kill -9 of a worker: its job", "after"):
        table.add_column(column)
    for row in GUARANTEES:
        if row.side.split()[0] in packages:
            table.add_row(*row[:5])
    return table


def _cell(column: str, runs: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]], is_ours: bool) -> str:
    values = [run[column] for run in runs if column in run]
    if not values:
        return ""
    median = statistics.median(values)
    shown = f"{median:,.0f}" if median >= 100 else f"{median:.1f}"
    if column == "drain/s" and any("cut" in run for run in runs):
        shown += "*"
    ratios = [
        run[column] / base[column] for run, base in zip(runs, ours, strict=False) if column in run and column in base
    ]
    return shown if is_ours or not ratios else f"{shown} ({statistics.median(ratios):.2f})"
