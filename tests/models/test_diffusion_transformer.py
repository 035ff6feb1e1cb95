"""MDLM and BD3-LM: logits of the published transformer written out plainly, its key names, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny_models import save_word_tokenizer
from torch import Tensor

from sap_core.attention.recorder import record_attention
from sap_core.errors import ModelProblem
from sap_core.models import load_model
from sap_core.pruning.api import prune

WIDTH, HEADS, LAYERS, LENGTH, VOCAB, LEVEL = 32, 4, 2, 32, 97, 16
SIZES = {"vocab_size": VOCAB, "model_length": LENGTH, "hidden_dim": WIDTH, "cond_dim": LEVEL, "n_blocks": LAYERS,
         "n_heads": HEADS, "dropout": 0.1, "time_conditioning": False}  # fmt: skip
IDS = torch.randint(0, 96, (2, 16), generator=torch.Generator().manual_seed(0))


def published_shapes(width: int, layers: int, vocabulary: int, level: int, heads: int) -> dict[str, tuple[int, ...]]:
    """Key names and shapes of MDLM-OWT and BD3-LM-OWT on the Hub."""
    shapes = {
        "backbone.vocab_embed.embedding": (vocabulary, width),
        "backbone.sigma_map.mlp.0.weight": (level, 256),
        "backbone.sigma_map.mlp.0.bias": (level,),
        "backbone.sigma_map.mlp.2.weight": (level, level),
        "backbone.sigma_map.mlp.2.bias": (level,),
        "backbone.rotary_emb.inv_freq": (width // heads // 2,),
        "backbone.output_layer.norm_final.weight": (width,),
        "backbone.output_layer.linear.weight": (vocabulary, width),
        "backbone.output_layer.linear.bias": (vocabulary,),
        "backbone.output_layer.adaLN_modulation.weight": (2 * width, level),
        "backbone.output_layer.adaLN_modulation.bias": (2 * width,),
    }
    for layer in range(layers):
        inside = {
            "norm1.weight": (width,),
            "attn_qkv.weight": (3 * width, width),
            "attn_out.weight": (width, width),
            "norm2.weight": (width,),
            "mlp.0.weight": (4 * width, width),
            "mlp.0.bias": (4 * width,),
            "mlp.2.weight": (width, 4 * width),
            "mlp.2.bias": (width,),
            "adaLN_modulation.weight": (6 * width, level),
            "adaLN_modulation.bias": (6 * width,),
        }
        shapes.update({f"backbone.blocks.{layer}.{name}": shape for name, shape in inside.items()})
    return shapes


def made(folder: Path, **fields: object) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=generator) * 0.3
        for name, shape in published_shapes(WIDTH, LAYERS, VOCAB, LEVEL, HEADS).items()
    }
    width = WIDTH // HEADS
    tensors["backbone.rotary_emb.inv_freq"] = 1.0 / 10_000 ** (torch.arange(0, width, 2).float() / width)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "mdlm", "auto_map": {"AutoModelForMaskedLM": "modeling_mdlm.MDLM"}, **SIZES, **fields}
    (folder / "config.json").write_text(json.dumps(config))
    save_word_tokenizer(folder, mask=False)
    return folder


def plain(folder: Path, ids: Tensor, block: int | None = None) -> Tensor:
    """The published forward pass (adaptive layer norm of a constant noise level), in float64."""
    stored = load_file(folder / "model.safetensors")
    at = {name.removeprefix("backbone."): value.double() for name, value in stored.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, at[f"{name}.weight"], at.get(f"{name}.bias"))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,)) * at[f"{name}.weight"]

    sinusoids = torch.cat([torch.ones(1, 128), torch.zeros(1, 128)], -1).double()  # cos(0) and sin(0)
    level = F.silu(linear(F.silu(linear(sinusoids, "sigma_map.mlp.0")), "sigma_map.mlp.2"))
    angles = torch.outer(torch.arange(ids.shape[1]).double(), at["rotary_emb.inv_freq"])
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()

    def turn(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    where = torch.arange(ids.shape[1]) // (block or ids.shape[1])
    seen = where <= where[:, None]
    x = at["vocab_embed.embedding"][ids]
    for layer in range(LAYERS):
        name = f"blocks.{layer}"
        b1, a1, g1, b2, a2, g2 = linear(level, f"{name}.adaLN_modulation")[:, None].chunk(6, -1)
        mixed = linear(norm(x, f"{name}.norm1") * (1 + a1) + b1, f"{name}.attn_qkv")
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in mixed.chunk(3, -1))
        scores = turn(q) @ turn(k).transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        attended = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v
        x = x + g1 * linear(attended.transpose(1, 2).flatten(2), f"{name}.attn_out")
        inside = linear(norm(x, f"{name}.norm2") * (1 + a2) + b2, f"{name}.mlp.0")
        x = x + g2 * linear(F.gelu(inside, approximate="tanh"), f"{name}.mlp.2")
    shift, scale = linear(level, "output_layer.adaLN_modulation")[:, None].chunk(2, -1)
    return linear(norm(x, "output_layer.norm_final") * (1 + scale) + shift, "output_layer.linear")


@pytest.mark.parametrize(("fields", "block"), [({}, None), ({"model_type": "bd3lm", "block_size": 4}, 4)])
def test_logits_are_the_plain_ones(fields: dict, block: int | None, tmp_path: Path) -> None:
    model = load_model(str(made(tmp_path, **fields)), device="cpu")
    assert (model.info.family, model.info.block_size) == (fields.get("model_type", "mdlm"), block)
    assert model.check_masked() == VOCAB - 1
    found = model.logits(IDS)
    torch.testing.assert_close(found.double(), plain(tmp_path, IDS, block), atol=1e-4, rtol=1e-4)
    with record_attention(model) as recorder:
        assert torch.equal(model.logits(IDS), found)
        assert recorder.collect().received.shape == (2, LAYERS, HEADS, 16)


def test_padding_counts_for_nothing(tmp_path: Path) -> None:
    model = load_model(str(made(tmp_path)), device="cpu")
    pad, ones = torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)
    padded = model.logits(torch.cat([pad, IDS], 1), torch.cat([pad, ones], 1))
    torch.testing.assert_close(padded[:, 3:], model.logits(IDS), atol=1e-4, rtol=1e-4)


def test_pruned_and_written_under_the_published_names(tmp_path: Path) -> None:
    folder = made(tmp_path / "dense")
    model = load_model(str(folder), device="cpu")
    kinds = {matrix.name.rpartition("blocks.0.")[2]: matrix.kind for matrix in model.info.matrices if matrix.layer == 0}
    assert kinds == {"attn_qkv": "qkv", "attn_out": "o", "mlp.0": "up", "mlp.2": "down"}
    pruned = prune(model, method="magnitude", pattern="2:4").model
    pruned.save(tmp_path / "pruned")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "pruned" / "model.safetensors")
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {f"{matrix.name}.weight" for matrix in model.info.matrices}
    again = load_model(str(tmp_path / "pruned"), device="cpu").logits(IDS)
    torch.testing.assert_close(again, pruned.logits(IDS), atol=1e-4, rtol=1e-4)  # where tensors lie changes rounding


@pytest.mark.parametrize("field", ["time_conditioning", "causal"])
def test_variants_are_refused(field: str, tmp_path: Path) -> None:
    with pytest.raises(ModelProblem, match=field):
        load_model(str(made(tmp_path, **{field: True})))
