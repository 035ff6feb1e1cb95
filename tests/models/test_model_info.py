"""A model is described from its config and headers alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sap_core.errors import ModelProblem
from sap_core.models.family_registry import families_table
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.models.memory import estimate_memory, fits


def test_a_diffusion_llama(tiny_diffusion: Path) -> None:
    info = inspect_model(str(tiny_diffusion))
    assert (info.family, info.objective) == ("native-diffusion", "masked_diffusion")
    assert (info.layers, info.heads, info.kv_heads, info.head_dim) == (3, 4, 2, 8)
    assert (info.hidden, info.ffn, info.vocab_size, info.max_length) == (32, 64, 96, 64)
    assert info.mask_token_id == 2 and info.dtype == "float32"
    # Embedding and head 96 x 32 each; a block: q, o 32 x 32, k, v 16 x 32, three of 64 x 32, two norms; one last norm.
    assert info.parameters == 2 * 96 * 32 + 3 * (2 * 1024 + 2 * 512 + 3 * 2048 + 64) + 32
    assert info.bytes == 4 * info.parameters
    first = [(m.name.removeprefix("model.layers.0."), m.rows, m.cols, m.kind) for m in info.matrices[:7]]
    assert first == [
        ("self_attn.q_proj", 32, 32, "q"),
        ("self_attn.k_proj", 16, 32, "k"),
        ("self_attn.v_proj", 16, 32, "v"),
        ("self_attn.o_proj", 32, 32, "o"),
        ("mlp.gate_proj", 64, 32, "gate"),
        ("mlp.up_proj", 64, 32, "up"),
        ("mlp.down_proj", 32, 64, "down"),
    ]
    assert [m.layer for m in info.matrices] == sorted(7 * [0, 1, 2])
    assert json.loads(json.dumps(info.to_dict()))["matrices"] == 21


def test_a_causal_llama(tiny_causal: Path) -> None:
    info = inspect_model(str(tiny_causal))
    assert (info.family, info.objective, info.mask_token_id) == ("causal", "autoregressive", None)
    assert info.samplers == ("autoregressive",)


def test_llada_names_become_native(golden: Path) -> None:
    info = inspect_model(str(golden / "tiny-llada"))
    assert (info.family, info.layers, info.hidden, info.ffn, info.max_length) == ("llada", 2, 32, 80, 48)
    assert info.mask_token_id == 159
    assert info.keys["model.transformer.ff_out.weight"] == "lm_head.weight"
    assert info.keys["model.transformer.blocks.1.ff_out.weight"] == "model.layers.1.mlp.down_proj.weight"


def test_the_objective_key_wins(tiny_causal: Path, tmp_path: Path) -> None:
    folder = edited(tiny_causal, tmp_path, sap_objective="masked_diffusion", mask_token_id=2)
    assert inspect_model(str(folder)).objective == "masked_diffusion"
    shutil.rmtree(folder)
    folder = edited(tiny_causal, tmp_path, sap_objective="autoregressive", is_causal=False)
    assert inspect_model(str(folder)).objective == "autoregressive"


def test_a_bidirectional_model_may_say_that_it_predicts_the_next_token(tiny_diffusion: Path, tmp_path: Path) -> None:
    plain = load_model(str(tiny_diffusion))
    shifted = load_model(str(edited(tiny_diffusion, tmp_path, sap_shift_logits=True)))
    assert (plain.info.shift_logits, shifted.info.shift_logits) == (False, True)
    ids = torch.tensor([[3, 4, 5, 6]])
    torch.testing.assert_close(shifted.logits(ids)[:, 1:], plain.logits(ids)[:, :-1])


def test_the_mask_token_of_the_tokenizer_is_found(tiny_diffusion: Path, tmp_path: Path) -> None:
    folder = edited(tiny_diffusion, tmp_path, mask_token_id=None)
    assert inspect_model(str(folder)).mask_token_id == 2


def test_a_given_mask_token_counts(tiny_diffusion: Path) -> None:
    assert inspect_model(str(tiny_diffusion), mask_token_id=5).mask_token_id == 5
    with pytest.raises(ModelProblem, match="outside the vocabulary"):
        inspect_model(str(tiny_diffusion), mask_token_id=96)


@pytest.mark.parametrize("value", [None, "three", -1, 0, True, 2.5])
def test_a_senseless_size_is_named(tiny_causal: Path, tmp_path: Path, value: object) -> None:
    folder = edited(tiny_causal, tmp_path, num_hidden_layers=value)
    with pytest.raises(ModelProblem, match="num_hidden_layers"):
        inspect_model(str(folder))


def test_memory_by_hand(tiny_diffusion: Path) -> None:
    info = inspect_model(str(tiny_diffusion))
    estimate = estimate_memory(info, length=10, steps=5, batch=2)
    assert estimate["weights"] == 4 * info.parameters
    # Two canvases: 3 layers x 4 heads x (2 x 10 + 2) floats, and 10 positions of 14 bytes, five times.
    assert estimate["trajectory"] == 5 * 2 * (3 * 4 * 22 * 4 + 10 * 14)
    assert estimate["total"] == estimate["weights"] + estimate["activations"] + estimate["trajectory"] // 5
    half = estimate_memory(info, dtype="bfloat16", length=10, steps=5, batch=2)
    assert half["weights"] == 2 * info.parameters
    assert fits(estimate) and not fits({"total": 1 << 60})
    # int8: the 3 x (2 x 1024 + 2 x 512 + 3 x 2048) weights of the matrices in one byte, the rest and the work in four.
    small = estimate_memory(info, dtype="int8", length=10, steps=5, batch=2)
    assert small["weights"] == 4 * (info.parameters - 27_648) + 27_648
    assert small["activations"] == estimate["activations"]


def test_what_is_free_depends_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from sap_core.models import memory

    main = memory.available_memory()
    monkeypatch.setattr(memory, "version", lambda name: "2.13.0")
    monkeypatch.setattr(memory.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    answer = subprocess.CompletedProcess([], 0, stdout="1000\n24000\n")
    monkeypatch.setattr(memory.subprocess, "run", lambda *_, **__: answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    free = {device: memory.available_memory(device) for device in ("auto", "cuda", "cuda:1", "cuda:2")}
    assert free == {"auto": 1000 << 20, "cuda": 1000 << 20, "cuda:1": 24000 << 20, "cuda:2": 0}
    assert memory.available_memory("spread") > 25000 << 20 and memory.available_memory("cpu") > main / 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert memory.available_memory("auto") == 24000 << 20
    monkeypatch.setattr(memory, "version", lambda name: "2.13.0+cpu")
    assert memory.gpu_memory() == []


def test_one_row_per_family() -> None:
    rows = families_table()
    assert {"llada", "native-diffusion", "causal"} <= {row["family"] for row in rows}
    assert all(row["samplers"] and row["title"] and row["export"] for row in rows)
    json.dumps(rows)


def test_describing_needs_no_torch(tiny_causal: Path) -> None:
    code = (
        "import sys; from sap_core.models import inspect_model, families_table;"
        f"families_table(); inspect_model({str(tiny_causal)!r}); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0


def edited(source: Path, tmp_path: Path, **changes: object) -> Path:
    """A copy of a model folder with other values in its config.json."""
    folder = tmp_path / "edited"
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_the_documentation_has_the_table() -> None:
    from sap_core.models.family_registry import families_markdown

    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    assert families_markdown() in page, "docs/models.md is older than the table of families"
