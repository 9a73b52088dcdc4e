"""`scripts/lib/environment.sh`: quiet while all goes well, and everything that pip said when it does not."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

from tests.harness.programs import ROOT

PREPARE = '. scripts/lib/environment.sh; prepare_environment embedded; printf "%s" "$venv"'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of its own with a finished environment, whose pip says much and fails when asked to."""
    for name in ("setup.cfg", "setup.py", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "scripts" / "lib").mkdir(parents=True)
    (tmp_path / "scripts/lib/environment.sh").write_bytes((ROOT / "scripts/lib/environment.sh").read_bytes())
    venv.create(tmp_path / ".venv", symlinks=True)
    [packages] = (tmp_path / ".venv" / "lib").glob("python*/site-packages")
    (packages / "pip").mkdir()
    (packages / "pip/__init__.py").touch()
    (packages / "pip/__main__.py").write_text(
        'import os, sys\nprint("much to say")\nsys.exit(int(os.environ.get("FAIL", 0)))\n'
    )
    (tmp_path / ".venv/bin/pip").write_text(f"#!{tmp_path / '.venv/bin/python'}\n")
    return tmp_path


def prepare(checkout: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    script = f"root={checkout}; cd $root; {PREPARE}"
    return subprocess.run(
        ["sh", "-euc", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environ}, check=False
    )


def test_an_installation_says_one_line_and_the_next_start_nothing(checkout: Path) -> None:
    first, second = prepare(checkout), prepare(checkout)

    assert (first.returncode, first.stdout) == (0, str(checkout / ".venv"))
    assert len(first.stderr.splitlines()) == 1
    assert (second.returncode, second.stderr) == (0, "")


def test_a_failed_installation_shows_what_pip_said_and_is_tried_again(checkout: Path) -> None:
    failed = prepare(checkout, FAIL="1")

    assert failed.returncode == 1
    assert "much to say" in failed.stderr
    assert "the installation failed" in failed.stderr
    assert prepare(checkout).returncode == 0
