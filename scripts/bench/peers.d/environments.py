"""`.venv-peers`: the peers' own environment, so that none of their requirements meets ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE.parents[2] / ".venv-peers"
PYTHON = VENV / "bin" / "python"
_REQUIREMENTS = HERE / "requirements.txt"
_INSTALL_S = 900


def prepare() -> None:
    """Make it, or make it again when the requirements have changed; a minute or two."""
    wanted = f"{sys.version}\n{hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()}\n{VENV}\n"
    mark = VENV / ".installed"
    if mark.exists() and mark.read_text() == wanted:
        return
    print(f"installing the peers into {VENV}; this can take a minute", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True, timeout=_INSTALL_S)
    log = VENV / "install.log"
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-r", _REQUIREMENTS]
    with log.open("wb") as output:
        done = subprocess.run(pip, check=False, stdout=output, stderr=output, timeout=_INSTALL_S)
    if done.returncode != 0:
        raise SystemExit(f"{log.read_text()}\nthe peers could not be installed: see above (kept in {log})")
    mark.write_text(wanted)
