"""What can't be loaded is told in one line, before any weight is read."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from sap_core.errors import InvalidInput, ModelProblem
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.samplers.check import check_sampling
from sap_core.specs import SamplingOptions


@pytest.fixture
def folder(tiny_diffusion: Path, tmp_path: Path) -> Path:
    """A sound model to spoil."""
    return Path(shutil.copytree(tiny_diffusion, tmp_path / "model"))


def refused(folder: Path | str, pattern: str) -> None:
    for door in (inspect_model, load_model):
        with pytest.raises(ModelProblem, match=pattern) as caught:
            door(str(folder))
        assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "There is no folder")


def test_no_name() -> None:
    refused("  ", "No model was named")


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    refused(folder / "config.json", "is no folder")


def test_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, "no config.json")


@pytest.mark.parametrize("text", ["{", "[1, 2]", ""])
def test_damaged_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, "JSON")


def test_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "no weights")


def test_only_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "only pickled weights.*safetensors")


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    refused(folder, "bytes where its header promises")


@pytest.mark.parametrize("head", [b"", b"\0" * 8, struct.pack("<Q", 1 << 60), b"\xff" * 40])
def test_damaged_header(folder: Path, head: bytes) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(head + path.read_bytes()[len(head) :] if head else b"")
    refused(folder, "header is damaged|damaged safetensors header")


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "..\\x.safetensors", "C:\\x.safetensors", 7])
def test_an_index_that_leads_out(folder: Path, name: object) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    refused(folder, "outside the model folder|not an index")


def test_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "lacks the weights file model-00002-of-00002.safetensors")


def test_an_index_with_a_name_no_file_holds(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "'a', which no file holds")


def test_an_unknown_kind(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "resnet", "architectures": ["ResNet"]}))
    refused(folder, "resnet")


def test_a_tensor_is_missing(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelProblem, match=r"lacks 1 tensors.*model.norm.weight"):
        load_model(str(folder))


def test_a_tensor_of_another_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 72}))
    with pytest.raises(ModelProblem, match=r"has shape \[32, 64\] where config.json calls for \[32, 72\]"):
        load_model(str(folder))


def test_llada_without_a_mask_token(golden: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden / "tiny-llada", tmp_path / "llada"))
    config = json.loads((folder / "config.json").read_text())
    del config["mask_token_id"]
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(str(folder))
    with pytest.raises(ModelProblem, match="declares no mask token"):
        model.check_masked()
    with pytest.raises(ModelProblem, match="give its id as mask_token_id"):
        check_sampling(inspect_model(str(folder)), SamplingOptions.build(length=20), 10)  # before it is loaded
    assert load_model(str(folder), mask_token_id=159).check_masked() == 159


@pytest.mark.parametrize(("field", "value"), [("alibi", True), ("layer_norm_type", "low_precision"), ("n_heads", None)])
def test_llada_variants_that_llama_does_not_compute(golden: Path, tmp_path: Path, field: str, value: object) -> None:
    folder = Path(shutil.copytree(golden / "tiny-llada", tmp_path / "llada"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    refused(folder, field if value is not None else "num_attention_heads")


def test_dtype_and_device_names(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"Unknown dtype 'float31'; known: .*float32"):
        load_model(str(folder), dtype="float31")
    with pytest.raises(InvalidInput, match="Unknown device 'gpu'; known: auto, cpu"):
        load_model(str(folder), device="gpu")


def test_the_mask_token_of_a_causal_model(tiny_causal: Path) -> None:
    with pytest.raises(ModelProblem, match="autoregressive and has no mask token"):
        load_model(str(tiny_causal)).check_masked()
