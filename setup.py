"""Build script: everything is in setup.cfg except that the migrations ship inside the wheel.

`db/migrations` is the one place where migrations are written; `db` itself is no import package
(it would shadow users' own `db` modules), so the build copies them to `taskhub/migrations`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithMigrations(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # an editable install reads db/migrations itself
            return
        target = Path(self.build_lib) / "taskhub" / "migrations"
        target.mkdir(parents=True, exist_ok=True)
        for migration in sorted((ROOT / "db" / "migrations").glob("*.sql")):
            shutil.copy2(migration, target / migration.name)


setup(cmdclass={"build_py": BuildWithMigrations})
