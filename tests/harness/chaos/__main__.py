"""`scripts/chaos`: run the rows one after the other and print the table."""

from __future__ import annotations

import argparse
import random
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.harness.chaos.plan import ROWS, SHORT, Result, Row, run_row
from tests.harness.small_disk import SmallDisk

JOBS, SHORT_JOBS = 10_000, 1_500


def main() -> int:
    """Returns 0 if every row was good."""
    chosen, jobs, seed = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)  # a file has no width to fit
    console.print(f"seed {seed}, {jobs} jobs a row")
    possible = [row for row in chosen if not row.on_small_disk or SmallDisk.is_possible()]
    for row in chosen:
        if row not in possible:
            console.print(f"left out: {row.name} (only root can mount a small disk)")
    results = [_run(console, row, jobs, seed) for row in possible]
    console.print(_table(results))
    for result in results:
        for problem in _problems(result):
            console.print(f"{result.row.name}: {problem}", style="red", markup=False)
    return 0 if all(result.is_good for result in results) else 1


def _arguments() -> tuple[list[Row], int, int]:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="repeats a run's choices")
    parser.add_argument("--jobs", type=int, help=f"jobs per row ({JOBS}; {SHORT_JOBS} with --short)")
    parser.add_argument("--only", metavar="ROW", help="rows whose name contains this")
    parser.add_argument("--short", action="store_true", help="one row with a little of everything, within a minute")
    given = parser.parse_args()
    rows = [SHORT] if given.short else [row for row in ROWS if given.only is None or given.only in row.name]
    if not rows:
        parser.error(f"no row's name contains {given.only!r}: {', '.join(row.name for row in ROWS)}")
    return rows, given.jobs or (SHORT_JOBS if given.short else JOBS), given.seed


def _run(console: Console, row: Row, jobs: int, seed: int) -> Result:
    columns = (
        TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[word]:<20}"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(row.name, total=jobs, word="starting")

        def tell(word: str, done: int, faults: int) -> None:
            progress.update(task, completed=min(done, jobs), word=f"{faults}/{row.count} {word}")

        result = run_row(row, jobs, seed, tell)
    mark = "[green]good[/]" if result.is_good else "[red]BAD[/]"
    console.print(f"{mark} {row.name}: {result.seconds:.0f} s", highlight=False)
    return result


def _table(results: list[Result]) -> Table:
    table = Table()
    for heading in ("faults", "accepted", "lost", "extra", "allowed", "unexplained", "changed after end", "ownerless"):
        table.add_column(heading, justify="left" if heading == "faults" else "right", no_wrap=heading == "faults")
    table.add_column("longest standstill", justify="right")
    table.add_column("took", justify="right")
    table.add_column("")
    for result in results:
        verdict = result.verdict
        counts = (verdict.lost, verdict.unexplained, verdict.regressed, verdict.ownerless)
        lost, unexplained, regressed, ownerless = (str(len(found)) for found in counts)
        table.add_row(
            result.row.name, str(verdict.accepted), lost, str(verdict.extra), str(result.may_be_extra), unexplained,
            regressed, ownerless, f"{result.standstill_s:.1f} s", f"{result.seconds:.0f} s",
            "good" if result.is_good else "BAD",
        )  # fmt: skip
    return table


def _problems(result: Result) -> list[str]:
    found = [f"{kind}: {len(jobs)}, such as {jobs[0]}" for kind, jobs in result.verdict.faults.items()]
    if result.verdict.extra > result.may_be_extra:
        found.append(f"{result.verdict.extra} extra executions, {result.may_be_extra} allowed")
    return [*result.problems, *found]


if __name__ == "__main__":
    sys.exit(main())
