"""Who may import whom: the table below is the plan of the package, and the check itself is shown to fail."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each room may import itself and the rooms named beside it, which all stand above it in this table.
ROOMS: dict[str, str] = {
    "_version": "",
    "byte_size": "",
    "errors": "",
    "resources": "byte_size errors",
    "file_locks": "errors",
    "untrusted": "byte_size errors resources",
    "confined": "byte_size errors untrusted",
    "confined_child": "",
    "access": "",
    "visible_text": "",
    "csv_files": "",
    "progress": "",
    "memoize": "",
    "storage": "byte_size errors resources file_locks untrusted",
    "choices": "errors",
    "trajectory": "errors storage",
    "stories": "errors",
    "texts": "errors untrusted",
    "specs": "errors choices texts",
    "sinks": "errors choices trajectory",
    "plots": "_version csv_files errors storage choices trajectory sinks",
    "runs": "_version byte_size errors resources untrusted storage trajectory specs plots",
    "archive_routes": "byte_size errors storage runs",
    "models": "errors resources untrusted confined storage choices",
    "attention": "errors",
    "samplers": "errors choices texts specs models",
    "capturing": "errors progress storage trajectory specs runs models attention samplers",
    "evaluation": "errors progress memoize stories texts specs sinks models samplers",
    "pruning.planning": "byte_size errors choices specs models",
    "pruning.scoring": "errors progress memoize choices stories texts runs sinks models attention capturing "
    "pruning.planning",
    "pruning.structured": "errors progress choices models pruning.planning pruning.scoring",
    "pruning.strategies": "errors progress memoize choices texts specs models evaluation pruning.planning "
    "pruning.scoring pruning.structured",
    "pruning.streamed": "errors file_locks progress choices specs runs models attention pruning.planning "
    "pruning.scoring pruning.strategies",
    "pruning": "errors progress texts specs models evaluation pruning.planning pruning.scoring pruning.strategies",
    "healing": "byte_size errors progress texts specs runs models evaluation pruning.strategies",
    "export": "errors untrusted progress storage choices texts specs runs models evaluation "
    "pruning.planning pruning.scoring pruning.strategies pruning.streamed pruning healing",
    "interventions": "errors progress storage choices texts specs runs sinks models attention evaluation "
    "pruning.planning pruning.scoring pruning.structured pruning.strategies",
    "sweeps": "_version csv_files errors progress storage choices texts specs runs sinks models capturing evaluation "
    "pruning.planning pruning",
    "jobs": "errors resources file_locks progress storage specs runs models samplers capturing evaluation "
    "pruning.planning pruning.strategies pruning export interventions sweeps",
    "figures": "errors choices sinks plots models capturing pruning.planning",
    "cli": "_version byte_size visible_text errors resources file_locks access progress storage choices trajectory "
    "stories texts "
    "specs runs sinks plots figures models samplers capturing evaluation pruning.planning "
    "pruning.strategies pruning export interventions sweeps",
    "ui": "byte_size csv_files visible_text errors file_locks storage choices trajectory texts specs runs sinks plots "
    "models "
    "samplers pruning.planning interventions sweeps jobs",
}
# Rooms, and single modules of other rooms, that must not load torch. The studio imports nothing else.
NO_TORCH = (
    "_version archive_routes byte_size csv_files errors resources file_locks untrusted confined confined_child access "
    "visible_text progress memoize storage choices trajectory texts stories specs runs "
    "sinks plots pruning.planning ui "
    "models.info models.inspection models.resizing.units models.family models.family_registry models.memory "
    "models.duration samplers.prompts jobs.client jobs.layout sweeps.grid sweeps.table sweeps.results_table "
    "sweeps.predict sweeps.tradeoff interventions.cost"
).split()
ONLY = {"streamlit": {"ui"}, "plotly": {"plots", "figures", "ui"}}
FOREIGN_TO_PAGES = {"torch", "numpy", "transformers", "plotly"}
PAGES_MAY = ("sap_core.ui", "sap_core.errors", "sap_core.runs")
DOTTED = re.compile(r"sap_core(\.\w+)+(:\w+)?")


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((root / "sap_core").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, root: Path, known: dict[str, Path]) -> set[str]:
    """Every module that a file imports, by statement or by a string that names one."""
    package = list(path.relative_to(root).with_suffix("").parts[:-1])
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{stem}.{a.name}" if f"{stem}.{a.name}" in known else stem for a in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if DOTTED.fullmatch(node.value) and node.value.partition(":")[0] in known:
                found.add(node.value.partition(":")[0])
    return found


def room_of(module: str) -> str:
    """The row of `ROOMS` that a module of the package belongs to; "" for the package itself."""
    parts = module.split(".")[1:]
    inner = ".".join(parts[:2])
    return inner if inner in ROOMS else (parts[0] if parts else "")


def check(root: Path, rooms: dict[str, str] = ROOMS) -> list[str]:
    """One line per breach of the plan: imports, permissions nobody uses, names that do not exist, circles of files."""
    known = modules(root)
    wrong, used, edges = [], set(), {}
    for name, path in known.items():
        room = room_of(name)
        if not room:
            continue
        if room not in rooms:
            wrong.append(f"{name}: {room} is not in the plan")
            continue
        edges[name] = imports(path, root, known)
        for target in sorted(edges[name]):
            top, other = target.split(".")[0], room_of(target)
            if top == "torch" and {room, ".".join(name.split(".")[1:3])} & set(NO_TORCH):
                wrong.append(f"{name} imports torch")
            if top in ONLY and room not in ONLY[top]:
                wrong.append(f"{name} imports {top}")
            if top != "sap_core" or not other or other == room:
                continue
            used.add((room, other))
            if other not in rooms[room].split():
                wrong.append(f"{name} imports {target}: {room} may not import {other}")
    wrong += _plan_faults(rooms, used) if root == ROOT else []
    wrong += [f"circle: {' -> '.join(circle)}" for circle in circles(edges)]
    for path in sorted((root / "pages").glob("*.py")):
        for target in sorted(imports(path, root, known)):
            if target.split(".")[0] in FOREIGN_TO_PAGES:
                wrong.append(f"{path.name}: a page imports {target}")
            if target.startswith("sap_core.") and not target.startswith(
                ("sap_core.ui", "sap_core.errors", "sap_core.runs")
            ):
                wrong.append(f"{path.name}: a page imports {target}")
    return wrong


def _plan_faults(rooms: dict[str, str], used: set[tuple[str, str]]) -> list[str]:
    order = list(rooms)
    wrong = []
    for room, allowed in rooms.items():
        for other in allowed.split():
            if other not in order:
                wrong.append(f"{room} may import {other}, which does not exist")
            elif order.index(other) >= order.index(room):
                wrong.append(f"{room} may import {other}, which stands below it")
            elif (room, other) not in used:
                wrong.append(f"{room} may import {other} but does not")
    return wrong + [f"{name} is named in NO_TORCH but does not exist" for name in NO_TORCH if not _exists(name)]


def _exists(name: str) -> bool:
    path = ROOT / "sap_core" / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other in a circle (strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in edges.get(module, ()):
            if target not in edges:
                continue
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in edges:
        if module not in index:
            visit(module)
    return found


def test_every_import_follows_the_plan():
    assert check(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("sap_core/sinks/bad.py", "import torch", "sap_core.sinks.bad imports torch"),
        ("sap_core/sinks/bad.py", "from ..models.info import ModelInfo", "sinks may not import models"),
        ("sap_core/sinks/bad.py", "RUN = 'sap_core.models.loaded:LoadedModel'", "sinks may not import models"),
        ("sap_core/models/bad.py", "import streamlit as st", "sap_core.models.bad imports streamlit"),
        ("sap_core/attention/bad.py", "from sap_core.ui.state import x", "attention may not import ui"),
        ("sap_core/nowhere/bad.py", "", "nowhere is not in the plan"),
        ("pages/bad.py", "import torch", "a page imports torch"),
        ("pages/bad.py", "from sap_core.pruning.api import prune", "a page imports sap_core.pruning"),
    ],
)
def test_the_check_can_fail(tmp_path: Path, file: str, line: str, complaint: str):
    target = tmp_path / file
    target.parent.mkdir(parents=True)
    target.write_text(line + "\n")
    for other in ("models/info.py", "models/loaded.py", "ui/state.py", "pruning/api.py"):
        path = tmp_path / "sap_core" / other
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert any(complaint in wrong for wrong in check(tmp_path)), check(tmp_path)


def test_a_circle_of_files_is_found(tmp_path: Path):
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        path = tmp_path / "sap_core" / "sinks" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"from .{other} import x\n")
    assert check(tmp_path) == ["circle: sap_core.sinks.a -> sap_core.sinks.b -> sap_core.sinks.c"]


def test_a_plan_with_a_loose_permission_is_refused():
    faults = _plan_faults({"a": "b gone", "b": "", "c": "a"}, set())
    assert "a may import b, which stands below it" in faults
    assert "a may import gone, which does not exist" in faults
    assert "c may import a but does not" in faults


def test_rooms_without_torch_do_not_load_it():
    names = [name for name in modules(ROOT) if {room_of(name), ".".join(name.split(".")[1:3])} & set(NO_TORCH)]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {names!r}]; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "torch was imported"


def test_every_public_name_resolves():
    import sap_core

    for name in sap_core.__all__:
        assert getattr(sap_core, name) is not None
