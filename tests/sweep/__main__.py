"""`scripts/sweep`: every member of every kind, or of those kinds whose name contains a word."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.sweep.drawing import ALL, SEED

HERE = Path(__file__).parent


def main() -> int:
    """Returns 0 if everything held."""
    kinds = {path.stem.removeprefix("test_"): path for path in sorted(HERE.glob("test_*.py"))}
    parser = argparse.ArgumentParser(prog="scripts/sweep", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help=f"of: {', '.join(kinds)}")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="repeats a run's choices")
    parser.add_argument("--at-once", type=int, default=2, help="tests at the same time")
    given = parser.parse_args()
    chosen = [path for kind, path in kinds.items() if not given.words or any(word in kind for word in given.words)]
    if not chosen:
        parser.error(f"no kind's name contains any of {given.words}: {', '.join(kinds)}")
    os.environ |= {ALL: "1", SEED: str(given.seed)}
    print(f"seed {given.seed}: {', '.join(path.stem.removeprefix('test_') for path in chosen)}", flush=True)
    many = ["-n", str(given.at_once), "--dist", "worksteal"] if given.at_once > 1 else []
    return subprocess.run([sys.executable, "-m", "pytest", *many, "--durations=5", *map(str, chosen)]).returncode


if __name__ == "__main__":
    sys.exit(main())
