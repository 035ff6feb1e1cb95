"""Exports: load in a fresh process with stock transformers, are complete or not there, and never destroy."""

from __future__ import annotations

import hashlib
import json

import pytest
from safetensors.torch import load_file, save_file

import sap_core as sap
from sap_core.errors import Cancelled, InvalidInput, OperationFailed, RunProblem
from sap_core.export.checkpoint import export_checkpoint
from sap_core.export.from_run import export_run
from sap_core.export.verify import verify_checkpoint
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.specs import ExportSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_python")]


@pytest.fixture(scope="module")
def pruned(tiny_diffusion):
    return prune(str(tiny_diffusion), method="magnitude", sparsity=0.5)


@pytest.fixture(scope="module")
def exported(pruned, tmp_path_factory, warm_python):
    """One export, verified; its folder and report."""
    common = {"standard_error": 0.1, "kind": "bound", "texts": 8}
    quality = {
        "dense": {"likelihood": common | {"nats_per_token": 1.0, "perplexity": 2.72}},
        "pruned": {"likelihood": common | {"nats_per_token": 1.25, "perplexity": 3.49}},
        "difference": {"nats_per_token": 0.25, "standard_error": 0.02},
    }
    out = tmp_path_factory.mktemp("exports") / "small"
    return out, export_checkpoint(pruned, out, quality=quality)


def test_stock_transformers_loads_it_with_equal_logits(exported):
    _, report = exported
    found = report.verification
    assert found["equal"] and found["max_difference"] == 0.0
    assert found["loader"] == "transformers" and found["own_package_imported"] is False
    assert found["class"] == "LlamaForCausalLM" and found["tokenizer"]


def test_the_manifest_covers_every_file_and_tells_how_it_was_made(exported, pruned):
    out, report = exported
    manifest = json.loads((out / "sap_manifest.json").read_text())
    assert set(manifest["files"]) == {path.name for path in out.iterdir()} - {"sap_manifest.json"}
    for name, (size, digest) in manifest["files"].items():
        assert len((out / name).read_bytes()) == size
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert manifest["spec"]["method"] == "magnitude" and manifest["seed"] == 0
    assert manifest["report"]["weights_sha256"] == pruned.report["weights_sha256"]
    assert manifest["verification"]["equal"] and manifest["versions"]["torch"]
    assert sorted(report.files) == sorted([*manifest["files"], "sap_manifest.json"])


def test_the_card_tells_method_sparsity_quality_and_how_to_load(exported):
    out, _ = exported
    card = (out / "README.md").read_text()
    for words in ("Magnitude", "sparsity asked | 0.5", "1.2500", "+0.2500", "AutoModelForCausalLM", "stored as zeros"):
        assert words in card, words


def test_nothing_is_left_aside(exported):
    out, _ = exported
    assert [path.name for path in out.parent.iterdir()] == ["small"]


def test_an_export_loads_here_too_and_exports_again(exported, tmp_path):
    out, _ = exported
    again = load_model(str(out))
    export_checkpoint(again, tmp_path / "copy", verify=False)
    manifest = json.loads((tmp_path / "copy" / "sap_manifest.json").read_text())
    assert "sap_manifest.json" not in manifest["files"] and manifest["spec"] is None
    first, second = (load_file(folder / "model.safetensors") for folder in (out, tmp_path / "copy"))
    assert all(first[name].equal(second[name]) for name in first)


def test_a_damaged_copy_is_found_out(exported, tmp_path):
    import shutil

    out, _ = exported
    copy = tmp_path / "damaged"
    shutil.copytree(out, copy)
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"] += 0.1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    found = verify_checkpoint(copy)
    assert not found["equal"] and found["max_difference"] > 0.01


def test_llada_keeps_its_own_names_and_config_and_goes_through_our_loader(golden, tmp_path):
    source = golden / "tiny-llada"
    pruned = prune(str(source), method="magnitude", sparsity=0.5)
    report = export_checkpoint(pruned, tmp_path / "out")
    assert report.loader == "sap_core" and report.verification["equal"]
    assert (tmp_path / "out" / "config.json").read_text() == (source / "config.json").read_text()
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "out"))
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    wanted = load_file(golden / "magnitude-0.5.safetensors")
    assert all(after[name].equal(value) for name, value in wanted.items())
    assert "sap.load_model" in (tmp_path / "out" / "README.md").read_text()


def test_an_existing_folder_stays_unless_told(pruned, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="exists already"):
        export_checkpoint(pruned, out)
    with pytest.raises(InvalidInput, match="holds other things than a model"):
        export_checkpoint(pruned, out, overwrite=True)
    assert (out / "precious.txt").read_text() == "mine"
    (out / "precious.txt").rename(out / "config.json")
    export_checkpoint(pruned, out, overwrite=True, verify=False)
    assert "mine" not in (out / "config.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_more_than_a_model_is_not_overwritten(pruned, tmp_path):
    out = tmp_path / "out"
    export_checkpoint(pruned, out, verify=False)
    for stranger in ("thesis.txt", "notes"):
        (out / stranger).mkdir()
        with pytest.raises(InvalidInput, match=f"holds '{stranger}', which is no part of a model"):
            export_checkpoint(pruned, out, overwrite=True, verify=False)
        (out / stranger).rmdir()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("way", ["whole", "streamed", "elastic"])
def test_what_appears_at_out_during_the_work_stays(pruned, tiny_diffusion, tmp_path, way, overwrite):
    out = tmp_path / "out"

    def meanwhile(report):
        if not out.exists():
            out.mkdir()
            (out / "thesis.txt").write_text("precious")

    settings = {"overwrite": overwrite, "verify": False, "progress": meanwhile}
    with pytest.raises(OperationFailed, match=r"stays as it is; the result is in .*out-2"):
        if way == "whole":
            export_checkpoint(pruned, out, **settings)
        elif way == "streamed":
            sap.prune_checkpoint(str(tiny_diffusion), out, method="magnitude", **settings)
        else:
            sap.export_elastic(str(tiny_diffusion), out, method="magnitude", **settings)
    assert (out / "thesis.txt").read_text() == "precious" and len(list(out.iterdir())) == 1
    assert (tmp_path / "out-2" / "sap_manifest.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out-2"]


def test_the_source_is_never_overwritten(pruned, tiny_diffusion):
    with pytest.raises(InvalidInput, match="loaded from"):
        export_checkpoint(pruned, tiny_diffusion, overwrite=True)


def test_a_place_that_can_not_be_written_is_said_before_any_work(pruned, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="can't be written"):
        export_checkpoint(pruned, tmp_path / "file" / "out")
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage)
    with pytest.raises(InvalidInput, match=r"B free"):
        export_checkpoint(pruned, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class _Usage:
    free = 1000


def test_a_failed_or_cancelled_export_leaves_nothing(pruned, tmp_path, monkeypatch):
    def stop(report):
        if report.done:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        export_checkpoint(pruned, tmp_path / "out", progress=stop)
    monkeypatch.setattr(
        "sap_core.export.checkpoint.verify_checkpoint",
        lambda folder: {"equal": False, "max_difference": 1.0, "tolerance": 1e-4},
    )
    with pytest.raises(OperationFailed, match="other logits"):
        export_checkpoint(pruned, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_export_is_not_verified(tiny_diffusion):
    with pytest.raises(InvalidInput, match=r"no sap_verify\.safetensors"):
        verify_checkpoint(tiny_diffusion)


def test_a_spec_of_an_export_comes_alone_and_is_followed(tmp_path):
    spec = ExportSpec(run=str(tmp_path / "no-run"), out=str(tmp_path / "out"))
    with pytest.raises(InvalidInput, match=r"not both \(overwrite\)"):
        export_run(spec=spec, overwrite=True)
    with pytest.raises(InvalidInput, match="needs run and out"):
        export_run(tmp_path)
    with pytest.raises(RunProblem, match="no-run"):
        export_run(spec=spec)
    assert not (tmp_path / "out").exists()
