"""The streamed way from the command line, as a job and by name where a model is too large for the memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import sap_core as sap
from sap_core.cli import main
from sap_core.errors import InvalidInput, ModelProblem
from sap_core.jobs.cache import ModelCache
from sap_core.jobs.execute import execute
from sap_core.models.inspection import inspect_model
from sap_core.pruning.planning import memory_check
from sap_core.runs.reading import open_run
from sap_core.specs import PruneCheckpointSpec


def sap_command(capsys, *words):
    capsys.readouterr()
    status = main(["prune", *map(str, words)])
    return status, *capsys.readouterr()


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setattr(memory_check, "available_memory", lambda device: 1000)


def test_a_model_that_does_not_fit_names_the_streamed_way_which_works(tiny_diffusion, tmp_path, capsys, no_room):
    words = ["--model", tiny_diffusion, "--method", "magnitude", "--out", tmp_path / "out", "--no-verify"]
    status, out, err = sap_command(capsys, *words)
    assert status == 2 and not out and len(err.splitlines()) == 1
    assert (
        "and its pruned copy need" in err
        and "KiB" in err
        and "--streamed --out DIR" in err
        and not (tmp_path / "out").exists()
    )
    with pytest.raises(InvalidInput, match="--streamed"):
        sap.prune(str(tiny_diffusion), method="magnitude")
    status, out, _ = sap_command(capsys, *words, "--streamed", "--json")
    document = json.loads(out)
    assert status == 0 and document["out"] == str(tmp_path / "out")
    assert document["report"]["sparsity"] == pytest.approx(0.5, abs=0.001)
    assert document["export"]["verification"] is None and (tmp_path / "out" / "sap_manifest.json").is_file()


def test_a_dry_run_says_what_is_known_and_writes_nothing(tiny_diffusion, tmp_path, capsys, no_room):
    words = ["--model", tiny_diffusion, "--streamed", "--dry-run", "--out", tmp_path / "out"]
    status, out, _ = sap_command(capsys, *words, "--method", "wanda", "--allocation", "owl")
    assert status == 0 and "Still open: how much each layer loses" in out and not (tmp_path / "out").exists()
    status, _, err = sap_command(capsys, *words, "--method", "taylor")
    assert status == 2 and "streamed pruning supports" in err


def test_a_model_counts_twice_and_half_precision_as_a_cpu_holds_it(tiny_diffusion, monkeypatch):
    info = inspect_model(str(tiny_diffusion))
    assert memory_check.pruning_memory(info, device="cpu") == 2 * info.bytes
    assert memory_check.pruning_memory(info, "bfloat16", "cpu") == info.bytes
    monkeypatch.setattr(memory_check, "available_memory", lambda device: 2 * info.bytes)
    assert not memory_check.has_room(info) and memory_check.has_room(info, held=1)


def test_as_a_job_the_run_keeps_the_report_and_the_folder_the_weights(tiny_diffusion, tmp_path):
    fields = {"model": str(tiny_diffusion), "method": "wanda", "samples": 4, "calibration_length": 16}
    spec = PruneCheckpointSpec.build(**fields, out=str(tmp_path / "out"), verify=False)
    seen = []
    run = open_run(execute(spec, tmp_path / "run", ModelCache(), lambda report: seen.append(report)))
    assert run.kind == "prune_checkpoint" and run.state == "finished"
    whole = sap.prune(**{"model": fields.pop("model")}, **fields)
    assert run.result["report"]["weights_sha256"] == whole.report["weights_sha256"]
    assert run.result["export"]["folder"] == str(tmp_path / "out")
    blocks = [(report.done, report.total) for report in seen if report.stage == "prune" and not report.message]
    assert blocks == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("part", ["layers.2.mlp.down_proj", "embed_tokens"])
def test_a_weight_that_is_no_number_is_found_before_any_block_is_pruned(tiny_diffusion, tmp_path, part):
    folder = Path(shutil.copytree(tiny_diffusion, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if part in key)
    weights[name][-1, -1] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    seen = []
    with pytest.raises(ModelProblem, match=f"{part}.*NaN"):
        sap.prune_checkpoint(str(folder), tmp_path / "out", method="magnitude", progress=lambda p: seen.append(p.stage))
    assert set(seen) <= {"load"} and not (tmp_path / "out").exists()


def test_a_model_that_is_not_what_its_config_says_is_refused_as_in_memory(tiny_diffusion, tmp_path, monkeypatch):
    """Streamed opening reads headers only; the check is the one of loading, in a pass of its own."""
    asked = []

    def refuses(model):
        asked.append(model)
        raise ModelProblem("its first row sees no later token")

    monkeypatch.setattr("sap_core.pruning.streamed.streamed_model.check_outputs", refuses)
    with pytest.raises(ModelProblem, match="sees no later token"):
        sap.prune_checkpoint(str(tiny_diffusion), tmp_path / "out", method="magnitude")
    assert len(asked) == 1 and not (tmp_path / "out").exists()
