"""A ``sap`` that runs in this process, in an empty working folder, and says what it printed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from sap_core.cli import main
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec
from sap_core.trajectory.store import VARIABLES, TrajectoryWriter
from sap_core.trajectory.synthetic import synthetic_trajectory


@dataclass
class Answer:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


@pytest.fixture
def sap(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAP_RUNS", str(tmp_path / "runs"))

    def call(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Answer(status, *capsys.readouterr())

    return call


@pytest.fixture
def synthetic():
    """Makes finished runs without a model."""
    return synthetic_run


def synthetic_run(out, kind="mixed", objective="masked_diffusion"):
    """A finished capture run with a trajectory that is known by hand: 8 steps, 2 layers, 4 heads, 32 positions."""
    data = synthetic_trajectory(kind, steps=8, layers=2, heads=4, positions=32, objective=objective)
    steps, layers, heads, positions = (data.sizes[dim] for dim in ("step", "layer", "head", "position"))
    attrs = {key: data.attrs[key] for key in data.attrs if key not in ("schema", "steps_total", "steps_written")}
    with create_run("capture", CaptureSpec.build(model="m", prompts=("once",), name=out.name), out=out) as run:
        sizes = {"steps": steps, "layers": layers, "heads": heads, "positions": positions}
        store = TrajectoryWriter(run.path / "trajectory" / "0.zarr", **sizes, attrs=attrs, prompt=data["prompt"].values)
        for step in range(steps):
            stepped = [name for name, row in VARIABLES.items() if row.dims[0] == "step"]
            store.append(step, **{name: data[name].values[step] for name in stepped})
        store.close()
        run.finish({"text": "once upon a time"})
    return run.path
