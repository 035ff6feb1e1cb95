"""LoRA folders merged at load time, against W + scale B A written out, in the published formats."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from chosen import mostly_slow
from safetensors.torch import load_file, save_file
from tiny_families import made

import sap_core as sap
from sap_core.errors import InvalidInput, ModelProblem
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.specs import CaptureSpec

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.extras
ROOT = Path(__file__).parents[2]
IDS = torch.randint(4, 96, (2, 12), generator=torch.Generator().manual_seed(0))
PLAIN = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 12,
    "bias": "none",
    "task_type": "CAUSAL_LM",
    "init_lora_weights": True,
}
BLOCK = "model.layers.1.self_attn"
# Family -> the modules that its adapter changes, as the publisher's code calls them.
CHANGED = {
    "llada": ["model.transformer.blocks.0.q_proj", "model.transformer.blocks.1.attn_out",
              "model.transformer.blocks.1.ff_out", "model.transformer.blocks.0.ff_proj"],
    "dream": [f"{BLOCK}.q_proj", f"{BLOCK}.o_proj", "model.layers.0.mlp.down_proj"],
    "native-qwen3-moe": [f"{BLOCK}.v_proj", "model.layers.0.mlp.experts.3.gate_proj",
                         "model.layers.1.mlp.experts.0.down_proj"],
    "causal-gpt2": ["transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_proj"],
    "bert": ["bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.1.output.dense"],
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("bases")
    return cache(lambda name: made(name, root / name))


def lora(folder: Path, base: Path, names: list[str], rank: dict[str, int] | None = None, **fields: object) -> Path:
    """A LoRA folder as peft writes it."""
    folder.mkdir(parents=True)
    stored, generator = load_file(base / "model.safetensors"), torch.Generator().manual_seed(7)
    tensors = {}
    for name in names:
        rows, cols = stored[f"{name}.weight"].shape
        if "transformer.h." in name:  # GPT-2 stores its layers transposed
            rows, cols = cols, rows
        r = (rank or {}).get(name, 4)
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(r, cols, generator=generator)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(rows, r, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, "target_modules": names, **fields}))
    return folder


def merged(folder: Path, base: Path, adapter: Path, scale: dict[str, float]) -> Path:
    """The base with scale B A added to its stored tensors."""
    shutil.copytree(base, folder)
    stored, added = load_file(base / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    for key in [key for key in added if key.endswith("lora_A.weight")]:
        name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        delta = scale.get(name, 3.0) * added[key.replace("lora_A", "lora_B")] @ added[key]
        stored[f"{name}.weight"] += delta.T if "transformer.h." in name else delta
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", mostly_slow(CHANGED, 2))
def test_the_merged_model_is_the_sum(name: str, base, tmp_path: Path) -> None:
    fields = {"fan_in_fan_out": True} if name == "causal-gpt2" else {}
    adapter = lora(tmp_path / "lora", base(name), CHANGED[name], **fields)
    expected = load_model(str(merged(tmp_path / "sum", base(name), adapter, {})), device="cpu").logits(IDS)
    model = load_model(str(base(name)), device="cpu", adapter=str(adapter))
    torch.testing.assert_close(model.logits(IDS), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(load_model(str(base(name)), device="cpu").logits(IDS), expected, atol=1e-2)
    assert model.info.adapter == str(adapter) and not any("lora" in key for key in model.module.state_dict())
    model.save(tmp_path / "saved")
    again, stored = (
        load_file(tmp_path / "saved" / "model.safetensors"),
        load_file(tmp_path / "sum" / "model.safetensors"),
    )
    assert again.keys() == stored.keys()
    for key, value in stored.items():
        torch.testing.assert_close(again[key], value, atol=1e-5, rtol=1e-5)


def test_ranks_and_scales_by_pattern_and_by_root(base, tmp_path: Path) -> None:
    names = CHANGED["dream"]
    rank = {names[0]: 4, names[1]: 9, names[2]: 4}
    adapter = lora(
        tmp_path / "lora", base("dream"), names, rank,
        rank_pattern={"o_proj": 9}, alpha_pattern={"layers.1.self_attn.o_proj": 6}, use_rslora=True,
    )  # fmt: skip
    expected = merged(tmp_path / "sum", base("dream"), adapter, {names[0]: 6.0, names[1]: 2.0, names[2]: 6.0})
    found = load_model(str(base("dream")), device="cpu", adapter=str(adapter)).logits(IDS)
    torch.testing.assert_close(found, load_model(str(expected), device="cpu").logits(IDS), atol=1e-4, rtol=1e-4)


def test_a_module_that_is_stored_whole_takes_its_place(base, tmp_path: Path) -> None:
    adapter = lora(tmp_path / "lora", base("dream"), CHANGED["dream"], modules_to_save=["lm_head"])
    head = torch.randn(96, 32, generator=torch.Generator().manual_seed(1))
    tensors = load_file(adapter / "adapter_model.safetensors") | {"base_model.model.lm_head.weight": head}
    save_file(tensors, adapter / "adapter_model.safetensors")
    expected = merged(tmp_path / "sum", base("dream"), adapter, {})
    stored = load_file(expected / "model.safetensors") | {"lm_head.weight": head}
    save_file(stored, expected / "model.safetensors", metadata={"format": "pt"})
    found = load_model(str(base("dream")), device="cpu", adapter=str(adapter)).logits(IDS)
    torch.testing.assert_close(found, load_model(str(expected), device="cpu").logits(IDS), atol=1e-4, rtol=1e-4)


REFUSED = {
    "prefix": ({"peft_type": "PREFIX_TUNING"}, r"of kind 'PREFIX_TUNING'; only LoRA is merged here"),
    "ia3": ({"peft_type": "IA3"}, r"of kind 'IA3'"),
    "alora": ({"alora_invocation_tokens": [1, 2]}, r"a LoRA with 'alora_invocation_tokens', which can't be merged"),
    "parameters": ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
    "bias": ({"bias": "all"}, "bias=all"),
    "start": ({"init_lora_weights": "corda"}, "init_lora_weights=corda"),
    "rank": ({"r": 0}, "has r=0; expected a number above 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_kinds_are_refused_with_what_they_are(name: str, base, tmp_path: Path) -> None:
    fields, words = REFUSED[name]
    adapter = lora(tmp_path / "lora", base("dream"), CHANGED["dream"], **fields)
    with pytest.raises(ModelProblem, match=rf"adapter .*{words}"):
        load_model(str(base("dream")), device="cpu", adapter=str(adapter))


def test_adapters_of_other_models_are_refused(base, tmp_path: Path, monkeypatch) -> None:
    def refused(words: str, adapter: Path, **options: object) -> None:
        with pytest.raises(ModelProblem, match=words):
            load_model(str(base("dream")), adapter=str(adapter), **{"device": "cpu", **options})

    llada = lora(tmp_path / "llada", base("llada"), CHANGED["llada"], base_model_name_or_path="GSAI-ML/LLaDA-8B")
    refused(
        r"changes 'model.transformer.blocks.0.*Dream.*does not have; .*it says it belongs to 'GSAI-ML/LLaDA-8B'", llada
    )
    wide = lora(tmp_path / "wide", base("dream"), CHANGED["dream"])
    tensors = {
        key: torch.cat([value, value], -1) for key, value in load_file(wide / "adapter_model.safetensors").items()
    }
    save_file(tensors, wide / "adapter_model.safetensors")
    refused(r"has .* for a matrix of 32 x .*; it is of another model", wide)
    right = lora(tmp_path / "right", base("dream"), CHANGED["dream"], base_model_name_or_path="Dream-org/Other")
    refused("in full precision on one device", right, device="spread")
    (right / "adapter_model.safetensors").rename(right / "adapter_model.bin")
    refused("pickled, which are refused", right)
    refused("has no adapter_config.json", base("dream"))
    refused("has no adapter_config.json", tmp_path / "nothing")
    monkeypatch.setitem(sys.modules, "peft", None)
    refused(r"pip install .*adapters", lora(tmp_path / "sound", base("dream"), CHANGED["dream"]))


def test_tied_embeddings_are_not_changed_on_one_side(base, tmp_path: Path) -> None:
    """GPT-2's head is its embedding."""
    adapter = lora(tmp_path / "lora", base("causal-gpt2"), ["transformer.wte"])
    tensors = {"base_model.model.lm_head.lora_A.weight": torch.ones(4, 32),
               "base_model.model.lm_head.lora_B.weight": torch.ones(96, 4)}  # fmt: skip
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelProblem, match="changes lm_head, which the model uses as input embedding and output head"):
        load_model(str(base("causal-gpt2")), device="cpu", adapter=str(adapter))


@pytest.mark.slow
def test_a_run_says_its_adapter_and_can_be_repeated(base, tmp_path: Path) -> None:
    adapter = lora(tmp_path / "lora", base("dream"), CHANGED["dream"])
    model = load_model(str(base("dream")), device="cpu", adapter=str(adapter))
    run = sap.capture(model, "w1 w2", length=8, steps=3, out=tmp_path / "run")
    assert run.spec["adapter"] == str(adapter)
    again = sap.capture(str(base("dream")), spec=CaptureSpec.build(**run.spec), out=tmp_path / "again")
    assert again.text == run.text
    pruned = prune(model, method="magnitude")
    assert pruned.spec.adapter == str(adapter)
    same = prune(str(base("dream")), spec=pruned.spec)
    assert same.report["weights_sha256"] == pruned.report["weights_sha256"]
    with pytest.raises(InvalidInput, match="but the spec names none"):
        prune(model, spec=pruned.spec.model_copy(update={"adapter": None}))


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_the_command_takes_it(base, tmp_path: Path) -> None:
    adapter = lora(tmp_path / "lora", base("llada"), CHANGED["llada"])
    words = ["--model", str(base("llada")), "--mask-token-id", "2", "--length", "8", "--steps", "2", "--out", "run"]
    command = [sys.executable, "-m", "sap_core.cli", "capture", *words, "--adapter"]
    place = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run([*command, "lora"], **place)
    assert done.returncode == 0, done.stderr
    assert sap.open_run(tmp_path / "run").spec["adapter"] == str(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps({**PLAIN, "peft_type": "PROMPT_TUNING"}))
    refused = subprocess.run([*command, str(adapter), "--name", "x"], **place)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
