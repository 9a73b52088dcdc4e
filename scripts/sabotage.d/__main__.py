"""Apply each sabotage to a scratch copy, run its test, and demand that it fails; first demand that all are green."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from table import SABOTAGES, Sabotage

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("docs", "taskhub", "supervisor", "db", "tests", "setup.cfg", "pyproject.toml")
AT_ONCE = 2
TEST_S = 120
CHECK = "--check"
RED, GREEN, BROKEN = "red", "GREEN", "BROKEN"
TESTS_FAILED = 1  # exit status of pytest; anything else but 0 means that it could not run them


class Finding(NamedTuple):
    """What became of one sabotage; only `red` is good."""

    sabotage: Sabotage
    colour: str
    detail: str
    seconds: float


class DoesNotApplyError(Exception):
    """The code has changed under a sabotage."""


def main() -> int:
    """Returns 0 if every chosen sabotage turned its test red."""
    console = Console(width=None if sys.stdout.isatty() else 140)  # a file has no width to fit
    words = [word for word in sys.argv[1:] if word != CHECK]
    chosen = [s for s in SABOTAGES if not words or any(word in s.name for word in words)]
    if not chosen:
        console.print("no sabotage has such a name")
        return 2
    if CHECK in sys.argv[1:]:
        return _check(console, chosen)
    with tempfile.TemporaryDirectory(prefix="th-sabotage-") as folder:
        if not _is_sound(console, Path(folder), chosen):
            return 1
        findings = _try_all(console, Path(folder), chosen)
    console.print(_shown(findings))
    caught = sum(finding.colour == RED for finding in findings)
    console.print(f"{caught} of {len(findings)} sabotages were caught")
    return 0 if caught == len(findings) else 1


def _check(console: Console, chosen: list[Sabotage]) -> int:
    """Tell which no longer fit the code, without a run; returns 0 if all do."""
    broken = 0
    for sabotage in chosen:
        try:
            _edited(ROOT, sabotage)
            _require_test(sabotage.test)
        except DoesNotApplyError as error:
            broken += 1
            console.print(f"{sabotage.name}: {error}", markup=False, highlight=False)
    console.print(f"{len(chosen) - broken} of {len(chosen)} sabotages apply")
    return 1 if broken else 0


def _is_sound(console: Console, folder: Path, chosen: list[Sabotage]) -> bool:
    """Without sabotage every one of the tests passes: else a red one would prove nothing."""
    copy = _copy(folder / "sound")
    console.print("the tests without sabotage ...")
    status, output = _run(copy, sorted({sabotage.test for sabotage in chosen}))
    if status:
        console.print(output, markup=False)
        console.print("some of the tests fail without any sabotage: nothing can be shown")
    return status == 0


def _try_all(console: Console, folder: Path, chosen: list[Sabotage]) -> list[Finding]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        task = progress.add_task("sabotages", total=len(chosen))
        findings = []
        for finding in pool.map(lambda n: _try(folder / str(n), chosen[n]), range(len(chosen))):
            findings.append(finding)
            progress.advance(task)
            progress.console.print(f"{finding.colour:6} {finding.sabotage.name}", markup=False, highlight=False)
    return findings


def _try(folder: Path, sabotage: Sabotage) -> Finding:
    began = time.monotonic()
    copy = _copy(folder)
    try:
        for file, content in _edited(copy, sabotage).items():
            file.write_text(content, encoding="utf-8")
        status, output = _run(copy, [sabotage.test])
    except DoesNotApplyError as error:
        return Finding(sabotage, BROKEN, str(error), 0.0)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    seconds = time.monotonic() - began
    if status == 0:
        return Finding(sabotage, GREEN, "the test did not notice", seconds)
    if status != TESTS_FAILED:
        return Finding(sabotage, BROKEN, "\n".join(output.splitlines()[-3:]), seconds)
    return Finding(sabotage, RED, _reason(output), seconds)


def _copy(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def _edited(root: Path, sabotage: Sabotage) -> dict[Path, str]:
    """What its files hold after a sabotage. Raises DoesNotApplyError."""
    edited: dict[Path, str] = {}
    for name, text, replacement in sabotage.edits:
        file = root / name
        if not file.is_file():
            raise DoesNotApplyError(f"there is no {name}")
        content = edited.get(file) or file.read_text(encoding="utf-8")
        if content.count(text) != 1:
            raise DoesNotApplyError(f"{name} has {content.count(text)} times: {text.strip()}")
        edited[file] = content.replace(text, replacement)
    return edited


def _require_test(test: str) -> None:
    name, _, function = test.partition("::")
    file = ROOT / name
    if not file.is_file() or (function and f"def {function.partition('[')[0]}(" not in file.read_text()):
        raise DoesNotApplyError(f"there is no test {test}")


def _run(copy: Path, tests: list[str]) -> tuple[int, str]:
    """Run tests on a copy; returns pytest's exit status and what it said."""
    # PYTHONPATH comes before the installed checkout; -p no:cacheprovider: nothing of the copy is worth keeping
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", f"--timeout={TEST_S}", *tests]
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, done.stdout + done.stderr


def _reason(output: str) -> str:
    """The first line that says what was wrong."""
    found = re.search(r"^E +(?:AssertionError: )?(.+)$", output, re.MULTILINE)
    return found.group(1)[:100] if found else ""


def _shown(findings: list[Finding]) -> Table:
    table = Table("result", "safeguard taken away", "test", "what it said", "s")
    for finding in findings:
        style = "red" if finding.colour == RED else "bold green"
        name = finding.sabotage.test.partition("::")[2]
        table.add_row(
            f"[{style}]{finding.colour}", finding.sabotage.name, name, finding.detail, f"{finding.seconds:.0f}"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
