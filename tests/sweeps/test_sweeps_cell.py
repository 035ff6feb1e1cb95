"""A real cell: pruned as `prune` does, measured as `evaluate` does, on the texts and masks of the dense model."""

from __future__ import annotations

import numpy as np
import pytest

from sap_core.specs import SweepSpec
from sap_core.sweeps import sweep
from sap_core.sweeps.cell import CellRunner
from sap_core.sweeps.grid import make_grid

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fields(tmp_path_factory, tiny_diffusion):
    """A small real sweep."""
    folder = tmp_path_factory.mktemp("texts")
    np.save(folder / "ids.npy", np.random.default_rng(0).integers(3, 90, (3, 24)))
    words = np.random.default_rng(1).integers(0, 92, 300)
    (folder / "text.txt").write_text("".join(" ".join(f"w{i}" for i in line) + "\n" for line in words.reshape(6, 50)))
    return {
        "model": str(tiny_diffusion), "methods": ("wanda",), "calibration": str(folder / "ids.npy"),
        "text": str(folder / "text.txt"), "texts": 3, "draws": 2, "device": "cpu",
    }  # fmt: skip


def test_a_cell_measures_what_the_verbs_measure(fields):
    from sap_core.evaluation.api import evaluate
    from sap_core.models.loading import load_model
    from sap_core.pruning.api import prune

    spec = SweepSpec.build(**fields)
    runner = CellRunner(spec.model_dump(mode="json"))
    dense, cell = (
        runner.run({"id": cell.id, "spec": cell.spec and cell.spec.model_dump(mode="json")})
        for cell in make_grid(spec).cells
    )
    model = load_model(fields["model"], device="cpu")
    pruned = prune(model, method="wanda", sparsity=0.5, calibration=fields["calibration"])
    expected = evaluate(pruned.model, model, fields["text"], samples=3, draws=2, tasks=False)
    assert cell["pruning"]["weights_sha256"] == pruned.report["weights_sha256"]
    nats, counted = np.array(cell["quality"]["nats"]), np.array(cell["quality"]["counted"])
    assert nats.sum() / counted.sum() == pytest.approx(expected["likelihood"]["nats_per_token"], rel=1e-12)
    apart = (nats - np.array(dense["quality"]["nats"])).sum() / counted.sum()
    assert apart == pytest.approx(expected["difference"]["nats_per_token"], rel=1e-9)
    assert cell["quality"]["nonzero_parameters"] == expected["nonzero_parameters"]


@pytest.mark.usefixtures("warm_python")
def test_worker_processes_do_real_cells(fields, tmp_path):
    done = sweep(**fields, out=tmp_path / "out", speed=True)
    assert done.complete and done.failed == {}
    row = done.table.iloc[1]
    assert row["found_sparsity"] == 0.5 and row["speedup"] > 0 and row["kind"] == "bound"
    assert row["difference"] != 0 and row["difference_error"] > 0


def test_each_seed_has_its_own_task_examples_and_equal_weights_are_measured_once(fields, monkeypatch):
    """What stands for every seed is asked the examples of all; a second method with the same mask is not measured."""
    from sap_core.evaluation import tasks

    asked = []
    monkeypatch.setattr(tasks, "knows_stories", lambda model: True)
    monkeypatch.setattr(
        tasks, "task_scores", lambda model, examples, skip, progress: asked.append((skip, examples)) or {}
    )
    methods = ("magnitude", "noised_wanda", "sink")
    spec = SweepSpec.build(**fields | {"methods": methods, "patterns": ("heads",), "seeds": (7, 3), "tasks": 5})
    runner = CellRunner(spec.model_dump(mode="json"))
    done = [
        (cell.id, runner.run({"id": cell.id, "spec": cell.spec and cell.spec.model_dump(mode="json")}))
        for cell in make_grid(spec).cells
    ]
    by_weights = {(r["pruning"].get("weights_sha256"), r["spec"] and r["spec"]["seed"]) for _, r in done}
    assert len(done) == 6 and asked[0] == (0, 10) and asked.count((0, 10)) == 2
    assert {(0, 5), (5, 5)} <= set(asked) and len(asked) == len(by_weights) < 6
    shared = [r["quality"] for name, r in done if name.endswith("s3")]
    assert len(shared) == 2 and shared[0] == shared[1]
