"""The smallest load, by the tool that puts on all of them."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.harness.programs import ROOT

pytestmark = pytest.mark.long


def run_load(name: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`scripts/loadtest/run` with an environment that holds nothing else of taskhub."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TASKHUB_", "PROMETHEUS_"))}
    return subprocess.run(
        [ROOT / "scripts" / "loadtest" / "run", name],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
        env={**kept, **settings},
    )


def test_smoke_keeps_its_thresholds_and_tells_its_figures() -> None:
    done = run_load("smoke", DURATION="5s", RATE="30")
    assert done.returncode == 0, done.stdout + done.stderr
    told = {line[:18].strip(): line[18:].strip() for line in done.stdout.splitlines()}
    accepted, rate = int(told["accepted"].split()[0]), float(told["accepted"].split()[2])
    assert accepted >= 150, told
    assert rate >= 25, told
    assert told["errors"].startswith("0.000"), told
    assert "p(99)" in told["submit"], told
    assert "p(95)" in told["wait in the queue"], told
    assert "- " not in told["wait in the queue"], told


def test_an_unknown_load_is_refused_with_the_known_ones() -> None:
    done = run_load("nothing-like-this")
    assert done.returncode == 1
    assert "smoke|ramp|spike|soak|mixed" in done.stderr
