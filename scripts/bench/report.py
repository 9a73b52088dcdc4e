"""Two series of figures side by side, taken in turn: medians, and the ratio of each pair with its spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

Figures = dict[str, float]

_NOTHING = 0.02  # less is not shown, nor divided by


def alternate(
    console: Console, sides: Mapping[str, Callable[[int], Figures]], jobs: int, pairs: int
) -> dict[str, list[Figures]]:
    """Pairs of runs, each pair in the other order than the one before; a small run of each goes unrecorded."""
    for run in sides.values():
        run(jobs // 10)
    runs: dict[str, list[Figures]] = {name: [] for name in sides}
    for pair in range(pairs):
        for name in list(sides) if pair % 2 == 0 else reversed(sides):
            console.print(f"pair {pair + 1} of {pairs}: {name} ...", end="\r" if console.is_terminal else "\n")
            runs[name].append(sides[name](jobs))
    return runs


def report(title: str, runs: dict[str, list[Figures]], unit: str = "CPU in us per job") -> Table:
    """The second series beside the first."""
    (first, base), (second, other) = runs.items()
    table = Table(title=f"{title}, {len(base)} pairs; {unit}")
    for column in ("", first, second, f"{second} / {first}", "half of the pairs", "all pairs"):
        table.add_column(column, justify="left" if not column else "right")
    names = dict.fromkeys(name for run in [*base, *other] for name in run)
    for name in names:
        mine, theirs = [run.get(name, 0.0) for run in other], [run.get(name, 0.0) for run in base]
        if max(mine + theirs) < _NOTHING:
            continue
        table.add_row(name, _shown(theirs), _shown(mine), *_ratios(mine, theirs))
    return table


def _shown(values: list[float]) -> str:
    median = statistics.median(values)
    return f"{median:,.0f}" if median >= 1000 else f"{median:.2f}"


def _ratios(mine: list[float], theirs: list[float]) -> tuple[str, str, str]:
    if min(mine + theirs) < _NOTHING:
        return "", "", ""
    ratios = sorted(one / other for one, other in zip(mine, theirs, strict=True))
    middle = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return (
        f"{statistics.median(ratios):.3f}",
        f"{middle[0]:.3f} to {middle[2]:.3f}",
        f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
    )
