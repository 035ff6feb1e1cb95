"""Who may import whom: the table below is the house's plan, and the check itself is shown to fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A room may import itself, the ground floor, and what stands beside its name. Submodules count with their room unless
# named in FRONT: those import no torch and may be used by rooms that must not touch the rest.
GROUND = {"errors", "progress", "specs", "remember", "places", "_version"}
FRONT = {
    "models.info",
    "models.families",
    "models.memory",
    "models.duration",
    "jobs.layout",
    "pruning.defaults",
    "pruning.methods",
    "pruning.modes",
    "pruning.plan",
    "pruning.allocation",
    "pruning.units",
    "pruning.room",
    "samplers.rules",
    "samplers.prompts",
    "sinks.rules",
    "demo.paths",
    "jobs.client",
    "sweeps.grid",
    "sweeps.table",
    "sweeps.measured",
    "sweeps.predict",
    "sweeps.tradeoff",
}
MAY = {
    "errors": set(),
    "progress": set(),
    "_version": set(),
    "places": set(),
    "remember": set(),
    "specs": {"pruning.methods", "pruning.modes", "pruning.allocation", "samplers.rules", "sinks.rules"},
    "trajectory": set(),
    "sinks": {"trajectory"},
    "runs": {"trajectory", "sinks"},
    "plots": {"trajectory", "sinks"},
    "demo": {"models", "samplers", "evaluation", "capture", "sinks"},
    # An elastic checkpoint is cut to size while it is loaded.
    "models": {"demo", "pruning.elastic"},
    "samplers": {"models"},
    "capture": {"models", "samplers", "trajectory", "sinks", "runs"},
    "pruning": {"models", "samplers", "capture", "sinks", "runs", "demo", "evaluation"},
    "evaluation": {"models", "samplers", "capture", "demo"},
    "export": {"models", "pruning", "evaluation", "runs"},
    "jobs": {
        "sweeps",
        "models",
        "samplers",
        "capture",
        "pruning",
        "evaluation",
        "export",
        "runs",
        "sinks",
        "trajectory",
        "demo",
    },
    "sweeps": {"models", "pruning", "evaluation", "capture", "runs", "demo"},
    "ui": {"plots", "jobs.client", "jobs.layout", "runs", "trajectory", "sinks"} | FRONT,
    "cli": {
        "sweeps",
        "jobs",
        "models",
        "samplers",
        "capture",
        "pruning",
        "evaluation",
        "export",
        "runs",
        "sinks",
        "plots",
        "trajectory",
        "demo",
    },
}
# Third-party packages that only some rooms may touch.
NO_TORCH = {"sinks", "trajectory", "plots", "runs", "ui", "specs", "errors", "progress", "remember", "places", *FRONT}
ONLY = {"streamlit": {"ui"}, "plotly": {"plots", "ui"}}


def imports(path: Path, package: str) -> set[str]:
    """Every module a file imports, with relative names made absolute. ``package`` is the file's own package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                stem = ".".join([*base, *([node.module] if node.module else [])])
            else:
                stem = node.module or ""
            # `from ..models import info` names the submodule, `from ..errors import X` a thing inside.
            found |= {f"{stem}.{alias.name}" for alias in node.names}
    return found


def violations(root: Path) -> list[str]:
    """One line per import that the plan forbids, in the package under ``root``/sap_core and in ``root``/pages."""
    wrong = []
    for path in sorted((root / "sap_core").rglob("*.py")):
        parts = path.relative_to(root / "sap_core").with_suffix("").parts
        if parts == ("__init__",):
            continue
        room, inner = parts[0], ".".join(parts[:2])
        if room not in MAY:
            wrong.append(f"{path.name}: {room} is not in the plan")
            continue
        package = ".".join(["sap_core", *parts[:-1]])
        for name in sorted(imports(path, package)):
            top = name.split(".")[0]
            if top == "torch" and (room in NO_TORCH or inner in NO_TORCH):
                wrong.append(f"{path.name}: {room} imports torch")
            if top in ONLY and room not in ONLY[top]:
                wrong.append(f"{path.name}: {room} imports {top}")
            if top != "sap_core" or name == "sap_core.__version__":
                continue
            target = name.split(".")[1:]
            inside = ".".join(target[:2])
            if target and target[0] not in {room} | GROUND | MAY[room] and inside not in MAY[room]:
                wrong.append(f"{path.relative_to(root)}: {room} imports {'.'.join(target)}")
    for path in sorted((root / "pages").glob("*.py")):
        for name in sorted(imports(path, "pages")):
            top = name.split(".")[0]
            if top in {"torch", "numpy", "transformers"}:
                wrong.append(f"{path.name}: a page imports {top}")
            if (
                top == "sap_core"
                and name.split(".")[1] in MAY
                and name.split(".")[1] not in {"ui", *MAY["ui"], *GROUND}
            ):
                inside = ".".join(name.split(".")[1:3])
                if inside not in FRONT:
                    wrong.append(f"{path.name}: a page imports {name}")
    return wrong


def test_every_import_follows_the_plan():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("sap_core/sinks/bad.py", "import torch", "sinks imports torch"),
        ("sap_core/sinks/bad.py", "from ..models import load_model", "sinks imports models.load_model"),
        ("sap_core/models/bad.py", "import streamlit as st", "models imports streamlit"),
        ("sap_core/capture/bad.py", "from sap_core.ui.state import x", "capture imports ui"),
        ("pages/bad.py", "import torch", "a page imports torch"),
        ("pages/bad.py", "from sap_core.pruning.api import prune", "a page imports sap_core.pruning"),
    ],
)
def test_the_check_can_fail(tmp_path: Path, file: str, line: str, complaint: str):
    target = tmp_path / file
    target.parent.mkdir(parents=True)
    target.write_text(line + "\n")
    (tmp_path / "sap_core").mkdir(exist_ok=True)
    assert any(complaint in wrong for wrong in violations(tmp_path)), violations(tmp_path)


def test_front_rooms_do_not_load_torch():
    modules = [
        "sap_core.specs",
        "sap_core.runs",
        "sap_core.sinks",
        "sap_core.trajectory",
        "sap_core.plots",
        "sap_core.ui",
    ]
    modules += [
        f"sap_core.{name}" for name in sorted(FRONT) if (ROOT / "sap_core" / f"{name.replace('.', '/')}.py").exists()
    ]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules!r}]; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "torch was imported"


def test_every_public_name_resolves():
    import sap_core

    for name in sap_core.__all__:
        assert getattr(sap_core, name) is not None
