"""The comparison with other queues: each side has its adapter, and each adapter what the driver asks for.

The peers themselves are not installed here, so their adapters are read and not imported.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts/bench/peers.d"
ADAPTERS = sorted(FOLDER.glob("peer_*.py"))
ASKED = {"prepare", "submit", "submit_stamp", "unsettled", "purge"}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_peers_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sides, guarantees = load("sides"), load("guarantees")


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.stem)
def test_an_adapter_has_what_the_driver_asks_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper()
        if node.targets[0].id in ("PACKAGE", "VARIANTS")
    }
    package = path.stem.removeprefix("peer_")
    assert constants["PACKAGE"] == package
    assert {side.variant for side in sides.SIDES if side.package == package} == set(constants["VARIANTS"])
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in functions["commands"].args.args] == ["variant"]
    [submitting] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Submitting"]
    methods = {node.name for node in submitting.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert methods >= ASKED


def test_each_side_has_an_adapter_and_its_package_is_installed() -> None:
    assert {f"{side.module}.py" for side in sides.SIDES} == {path.name for path in ADAPTERS}
    required = (FOLDER / "requirements.txt").read_text()
    assert [side.package for side in sides.SIDES if side.package != sides.OURS and side.package not in required] == []


def test_the_guarantees_of_each_package_are_in_the_documentation() -> None:
    assert {row.side for row in guarantees.GUARANTEES} <= {side.name for side in sides.SIDES}
    assert {row.side.split()[0] for row in guarantees.GUARANTEES} == {side.package for side in sides.SIDES}
    page = (ROOT / "docs/performance.md").read_text()
    assert [row.side for row in guarantees.GUARANTEES if f"| {' | '.join(row[:5])} |" not in page] == []
