"""The sabotages go with the code: each still finds the text that it takes away, and the test that is to notice."""

from __future__ import annotations

import subprocess
import sys

from tests.harness.programs import ROOT


def test_every_sabotage_applies_to_the_code_as_it_is() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts/sabotage.d", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
