"""GGUF files: an independent reader computes the model's logits from nothing but the file, as llama.cpp defines it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import save_word_tokenizer

import sap_core as sap
from sap_core.cli import main
from sap_core.errors import InvalidInput, OperationFailed
from sap_core.export.gguf import read_back

gguf = pytest.importorskip("gguf")


def computed(path, tokens: list[int]) -> torch.Tensor:
    """The logits of a file: llama.cpp's graphs of `llada`, `llama`, `qwen2`, `dream`, written plainly."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    kind = fields["general.architecture"]
    w = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    w = {t.name: w[t.name].reshape(tuple(reversed(t.shape.tolist()))) for t in reader.tensors}

    def size(name):
        return fields[f"{kind}.{name}"]

    heads, groups, width = size("attention.head_count"), size("attention.head_count_kv"), size("attention.key_length")
    eps, length = size("attention.layer_norm_rms_epsilon"), len(tokens)
    angles = torch.arange(length)[:, None] / size("rope.freq_base") ** (torch.arange(0, width, 2) / width)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]

    def turned(x):
        pairs = kind in ("llama", "llada")  # neighbours, or the two halves
        a, b = (x[..., 0::2], x[..., 1::2]) if pairs else x.chunk(2, -1)
        both = (a * cos - b * sin, a * sin + b * cos)
        return torch.stack(both, -1).flatten(-2) if pairs else torch.cat(both, -1)

    def norm(x, name):
        return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * w[name]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.tensor(0.0))

    x = w["token_embd.weight"][tokens]
    for i in range(size("block_count")):
        b = f"blk.{i}"
        h = norm(x, f"{b}.attn_norm.weight")
        q, k, v = (linear(h, f"{b}.attn_{n}").view(length, -1, width) for n in "qkv")
        q, k = turned(q), turned(k).repeat_interleave(heads // groups, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / width**0.5
        if fields.get(f"{kind}.attention.causal", True):
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
        seen = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v.repeat_interleave(heads // groups, 1)).flatten(1)
        x = x + linear(seen, f"{b}.attn_output")
        h = norm(x, f"{b}.ffn_norm.weight")
        gate = torch.nn.functional.silu(linear(h, f"{b}.ffn_gate")) * linear(h, f"{b}.ffn_up")
        x = x + linear(gate, f"{b}.ffn_down")
    return norm(x, "output_norm.weight") @ w.get("output.weight", w["token_embd.weight"]).T


@pytest.fixture(scope="module")
def tiny_qwen(tmp_path_factory):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("qwen")
    config = Qwen2Config(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, tie_word_embeddings=True,
    )  # fmt: skip
    module = Qwen2ForCausalLM(config)
    for name, value in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value)
    module.save_pretrained(folder)
    save_word_tokenizer(folder, mask=False)
    return folder


@pytest.mark.parametrize(
    ("which", "pattern", "kind"),
    [("tiny_diffusion", "", "llada"), ("tiny_diffusion", "channels", "llada"), ("tiny_causal", "layers", "llama"),
     ("tiny_qwen", "", "qwen2")],
)  # fmt: skip
def test_the_file_alone_gives_the_logits(which, pattern, kind, request, tmp_path):
    model = sap.load_model(str(request.getfixturevalue(which)))
    if pattern:
        model = sap.prune(model, method="magnitude" if pattern == "channels" else "random", pattern=pattern).model
    report = sap.export_gguf(model, tmp_path / "model.gguf")
    assert report.architecture == kind and report.tokenizer == "none" and report.largest_error < 2**-10
    tokens = [5, 9, 2, 2, 40, 17, 2, 61]
    expected = model.forward(torch.tensor([tokens]), None)[0]
    found = computed(tmp_path / "model.gguf", tokens)
    assert float((found - expected).abs().max()) < 1e-2 * float(expected.abs().max())
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_experts_stand_in_one_tensor_and_are_counted(tmp_path):
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        vocab_size=96, hidden_size=32, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2, head_dim=8,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, norm_topk_prob=True,
    )  # fmt: skip
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "moe")
    dense = sap.load_model(str(tmp_path / "moe"))
    for model, count in ((dense, 4), (sap.prune(dense, method="random", pattern="experts", sparsity=0.5).model, 2)):
        out = tmp_path / f"{count}.gguf"
        assert sap.export_gguf(model, out).architecture == "qwen3moe"
        reader = gguf.GGUFReader(out)
        assert reader.fields["qwen3moe.expert_count"].contents() == count
        assert reader.fields["qwen3moe.expert_feed_forward_length"].contents() == 32
        ups = {t.name: t for t in reader.tensors}["blk.1.ffn_up_exps.weight"]
        last = model.module.get_submodule(f"model.layers.1.mlp.experts.{count - 1}.up_proj").weight
        assert ups.data.shape == (count, 32, 32) and np.array_equal(ups.data[-1], last.half().numpy())


def test_eight_and_four_bits_from_the_command_line(tiny_diffusion, tmp_path, capsys):
    sizes = {}
    for precision in ("q8_0", "q4_0"):
        out = tmp_path / f"{precision}.gguf"
        assert main(["export", str(tiny_diffusion), "--format=gguf", f"--precision={precision}", f"--out={out}"]) == 0
        assert "token ids only" in capsys.readouterr().out
        kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(out).tensors}
        assert kinds["blk.0.ffn_down.weight"] == precision.upper() and kinds["blk.1.attn_norm.weight"] == "F32"
        assert kinds["output.weight"] == "Q8_0"
        sizes[precision] = out.stat().st_size
    assert sizes["q4_0"] < sizes["q8_0"]
    model = sap.load_model(str(tiny_diffusion))
    expected = model.forward(torch.tensor([[5, 9, 2, 40]]), None)[0]
    found = computed(tmp_path / "q8_0.gguf", [5, 9, 2, 40])
    assert float((found - expected).abs().mean()) < 0.02 * float(expected.abs().max())
    assert main(["export", str(tiny_diffusion), "--format=gguf", f"--out={tmp_path / 'q8_0.gguf'}"]) == 2


def test_a_file_with_one_other_weight_is_found_out(tiny_causal, tmp_path):
    from sap_core.export.gguf import _tensors
    from sap_core.models.gguf_names import architecture_of

    model = sap.load_model(str(tiny_causal))
    sap.export_gguf(model, tmp_path / "model.gguf")
    tensors = dict(_tensors(model, architecture_of(model.info)))
    assert read_back(tmp_path / "model.gguf", tensors, "f16") < 2**-10
    spot = next(t for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors if t.name == "blk.1.attn_k.weight")
    raw = bytearray((tmp_path / "model.gguf").read_bytes())
    raw[spot.data_offset : spot.data_offset + 2] = np.float16(3.0).tobytes()
    (tmp_path / "model.gguf").write_bytes(raw)
    with pytest.raises(OperationFailed, match="attn_k"):
        read_back(tmp_path / "model.gguf", tensors, "f16")


def test_what_llama_cpp_does_not_compute_is_refused(tiny_diffusion, tmp_path):
    model = sap.load_model(str(tiny_diffusion))
    for out, fields, said in (("a.bin", {}, "NAME.gguf"), ("a.gguf", {"precision": "q3"}, "q8_0")):
        with pytest.raises(InvalidInput, match=said):
            sap.export_gguf(model, tmp_path / out, **fields)
    uneven = sap.prune(model, method="magnitude", pattern="channels", allocation="ramp", sparsity=0.4).model
    with pytest.raises(InvalidInput, match="differ in width"):
        sap.export_gguf(uneven, tmp_path / "a.gguf")
    assert not list(tmp_path.iterdir())
