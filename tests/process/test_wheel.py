"""What ships is what works: the wheel, built and installed elsewhere, migrates a database and knows its scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    [built] = folder.glob("taskhub-*.whl")
    return built


def test_the_wheel_holds_sql_lua_and_migrations_and_no_import_package_named_db(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "store/sql/claims/settle_and_claim.sql",
        "broker/scripts/take.lua",
        "migrations/0001_create_jobs.sql",
    ):
        assert f"taskhub/{wanted}" in names
    assert "supervisor/__main__.py" in names
    assert {name.split("/")[0] for name in names if not name.startswith("taskhub-")} == {"taskhub", "supervisor"}


def test_installed_elsewhere_it_migrates_and_says_so_once(wheel: Path, empty_pg_url: str, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    venv.create(home, with_pip=False, symlinks=True)
    [site] = (home / "lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies are those of this environment; taskhub itself comes from the wheel alone.
    (site / "dependencies.pth").write_text(str(Path(pytest.__file__).parents[1]))
    environment = {"PATH": os.environ["PATH"], "TASKHUB_DATABASE_URL": empty_pg_url}
    program = "import taskhub; from taskhub.cli.main import main; print(taskhub.__file__); main()"

    def migrate() -> str:
        done = subprocess.run(
            [home / "bin" / "python", "-c", program, "migrate"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    first, second = migrate(), migrate()
    assert str(site) in first
    assert "0001_create_jobs" in first
    assert "0001_create_jobs" not in second
