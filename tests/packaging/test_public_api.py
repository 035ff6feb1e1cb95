"""The public API as people and editors see it: stub, lazy imports and types agree."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import sap_core as sap

ROOT = Path(__file__).parents[2]
LAZY = [".".join(path.relative_to(ROOT).parent.parts) for path in sorted((ROOT / "sap_core").rglob("__init__.pyi"))]
PYRIGHT = Path(sys.executable).with_name("pyright")


@pytest.mark.parametrize("name", LAZY)
def test_every_name_of_a_stub_is_there(name):
    package = importlib.import_module(name)
    tree = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    listed = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    assert listed and set(listed) == set(package.__all__) <= set(dir(package))
    for name, (module, original) in listed.items():
        assert getattr(package, name) is getattr(importlib.import_module(f".{module}", package.__name__), original)


def test_the_pruner_and_the_recorder_are_public():
    assert {"SinkAwarePruner", "record_attention", "capture", "prune", "load_model"} <= set(sap.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sap.nonsense  # type: ignore


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, sap_core, sap_core.models, sap_core.plots, sap_core.sweeps; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "plotly", "pandas", "xarray", "streamlit"} & set(done.stdout.split())


SNIPPET = """\
import sap_core as sap

run = sap.capture("demo:stories-diffusion", prompt="a", steps=4)
reveal_type(sap.open_run("runs/a"))
reveal_type(sap.SinkAwarePruner)
reveal_type(sap.record_attention)
sap.nonsense
sap.rank_heads(run, no_such_argument=1)
"""


@pytest.mark.skipif(not PYRIGHT.exists(), reason="pyright is not installed")
@pytest.mark.slow
def test_a_type_checker_sees_the_api(tmp_path):
    (tmp_path / "snippet.py").write_text(SNIPPET)
    settings = {"typeCheckingMode": "basic", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [str(PYRIGHT), "--pythonpath", sys.executable, "--outputjson", "-p", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    report = [(item["range"]["start"]["line"] + 1, item) for item in json.loads(done.stdout)["generalDiagnostics"]]
    errors = {line: item["message"] for line, item in report if item["severity"] == "error"}
    types = {line: item["message"] for line, item in report if item["severity"] == "information"}
    assert set(errors) == {7, 8}
    assert '"nonsense" is not a known attribute of module "sap_core"' in errors[7]
    assert 'No parameter named "no_such_argument"' in errors[8]
    assert '"Run"' in types[4] and "SinkAwarePruner" in types[5] and "AttentionRecorder" in types[6]
    assert not [message for message in types.values() if "Unknown" in message]
