"""Two series of figures side by side: medians, and the ratio of each pair with its spread."""

from __future__ import annotations

import statistics

from rich.table import Table

_NOTHING = 0.02  # less is not shown, nor divided by


def report(title: str, runs: dict[str, list[dict[str, float]]], unit: str = "CPU in us per job") -> Table:
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
