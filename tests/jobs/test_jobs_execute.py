"""Real specs on tiny models: what a run of each kind holds, and that the worker's models stay warm and current."""

from __future__ import annotations

import json
import shutil

import pytest

from sap_core.errors import (
    Cancelled,
    InvalidInput,
    ModelProblem,
    OperationFailed,
    RunProblem,
)
from sap_core.jobs.cache import KEPT, ModelCache
from sap_core.jobs.execute import execute
from sap_core.progress import silent
from sap_core.runs.listing import list_runs
from sap_core.runs.reading import open_run
from sap_core.runs.store import create_run
from sap_core.specs import (
    CaptureSpec,
    EvaluateSpec,
    ExportSpec,
    PruneSpec,
    parse_spec,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    return ModelCache()


@pytest.fixture
def model(tiny_diffusion):
    return str(tiny_diffusion)


@pytest.fixture(scope="module")
def pruned(models, tiny_diffusion, tmp_path_factory):
    spec = PruneSpec.build(model=str(tiny_diffusion), method="wanda", samples=4, calibration_length=16)
    return open_run(execute(spec, tmp_path_factory.mktemp("pruned") / "run", models, silent))


def test_prune_leaves_plan_report_and_both_texts(pruned):
    result = pruned.result
    assert pruned.kind == "prune" and pruned.state == "finished"
    assert pruned.read_json("plan.json") == result["plan"]
    assert result["report"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert result["report"]["weights_sha256"]
    for side in ("dense", "pruned"):
        assert result[side]["text"] and result[side]["likelihood"]["nats_per_token"] > 0
    assert parse_spec(pruned.spec).method == "wanda"


def test_evaluate_leaves_its_document(models, model, tmp_path):
    spec = EvaluateSpec.build(model=model, baseline=model, samples=2, draws=2)
    run = open_run(execute(spec, tmp_path / "run", models, silent))
    assert run.result["difference"]["nats_per_token"] == 0 and run.result["parameters"] > 0


def test_what_is_shown_as_written_is_the_generation_that_was_recorded(pruned):
    for side, trajectory in zip(("dense", "pruned"), pruned.trajectories, strict=True):
        words = pruned.result[side]["text"].split()
        pieces = json.loads(trajectory.attrs["pieces"])
        last = [pieces[str(int(token))].strip() for token in trajectory["next_token"].values[-1]]
        assert [piece for piece in last if piece][: len(words)] == words


def test_export_uses_the_warm_weights_and_the_measured_quality(models, pruned, tmp_path):
    assert models.pruned(pruned.path) is not None
    spec = ExportSpec.build(run=str(pruned.path), out=str(tmp_path / "out"), verify=False)
    run = open_run(execute(spec, tmp_path / "run", models, silent))
    manifest = json.loads((tmp_path / "out" / "sap_manifest.json").read_text())
    assert run.kind == "export" and run.result["folder"] == str(tmp_path / "out")
    assert manifest["report"]["weights_sha256"] == pruned.result["report"]["weights_sha256"]
    assert manifest["quality"]["pruned"] == pruned.result["pruned"]


def test_export_by_a_new_worker_prunes_again_to_the_same_weights(pruned, tmp_path):
    cold = ModelCache()
    spec = ExportSpec.build(run=str(pruned.path), out=str(tmp_path / "out"), verify=False)
    execute(spec, tmp_path / "run", cold, silent)
    assert cold.pruned(pruned.path).report["weights_sha256"] == pruned.result["report"]["weights_sha256"]


def test_export_refuses_other_weights_and_other_runs(models, pruned, tmp_path):
    forged = tmp_path / "forged"
    with create_run("prune", parse_spec(pruned.spec), out=forged) as run:
        run.finish({**pruned.result, "report": {**pruned.result["report"], "weights_sha256": "0" * 64}})
    spec = ExportSpec.build(run=str(forged), out=str(tmp_path / "out"))
    with pytest.raises(OperationFailed, match="gave other weights"):
        execute(spec, tmp_path / "run", models, silent)
    assert not (tmp_path / "out").exists() and open_run(tmp_path / "run").state == "failed"

    with create_run("capture", CaptureSpec.build(model="m"), out=tmp_path / "capture") as run:
        run.finish({})
    with pytest.raises(RunProblem, match="finished capture run; give a finished prune run"):
        execute(ExportSpec.build(run=str(run.path), out=str(tmp_path / "out")), tmp_path / "r2", models, silent)
    with pytest.raises(InvalidInput, match="exists already"):
        execute(ExportSpec.build(run=str(pruned.path), out=str(forged)), tmp_path / "r2", models, silent)
    assert not (tmp_path / "r2").exists()


def test_refused_input_leaves_no_run(models, model, tmp_path):
    bad = [
        PruneSpec.build(model=str(tmp_path / "none"), method="magnitude"),
        PruneSpec.build(model=model, method="wanda", calibration=str(tmp_path / "none.txt")),
        EvaluateSpec.build(model=model, text=str(tmp_path / "none.txt")),
    ]
    for spec in bad:
        with pytest.raises(InvalidInput):
            execute(spec, tmp_path / "run", models, silent)
    assert list_runs(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_cancelling_a_prune_leaves_a_cancelled_run_with_its_plan(models, model, tmp_path):
    def stop(report):
        if report.stage != "load":
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        execute(PruneSpec.build(model=model, method="magnitude"), tmp_path / "run", models, stop)
    run = open_run(tmp_path / "run")
    assert run.state == "cancelled" and run.read_json("plan.json")["method"] == "magnitude"


def test_a_warm_model_is_the_same_object_until_its_folder_changes(model, tmp_path):
    models = ModelCache()
    folder = shutil.copytree(model, tmp_path / "model")
    spec = CaptureSpec.build(model=str(folder))
    first = models.get(spec.model, **spec.loading)
    assert models.get(spec.model, **spec.loading) is first
    assert models.get(str(folder), dtype="bfloat16") is not first
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4:] = b"\0\0\0\0"
    weights.write_bytes(data)
    assert models.get(spec.model, **spec.loading) is not first
    shutil.rmtree(folder)
    with pytest.raises(ModelProblem):
        models.get(spec.model, **spec.loading)


def test_few_models_are_kept_and_within_the_budget(model):
    models = ModelCache()
    specs = [CaptureSpec.build(model=model, mask_token_id=token) for token in range(KEPT + 1)]
    loaded = [models.get(spec.model, **spec.loading) for spec in specs]
    assert len(models._kept) == KEPT
    assert models.get(model, **specs[-1].loading) is loaded[-1]
    assert models.get(model, **specs[0].loading) is not loaded[0]

    small = ModelCache(budget=loaded[0].info.bytes)
    small.get(model, **specs[0].loading)
    small.get(model, **specs[1].loading)
    assert len(small._kept) == 1
