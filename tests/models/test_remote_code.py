"""Models with their own code: refused without consent, right with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import save_word_tokenizer

from sap_core.attention.recorder import record_attention
from sap_core.errors import ModelProblem
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

IDS = torch.randint(3, 96, (2, 10), generator=torch.Generator().manual_seed(0))
CONFIGURATION = """
from transformers import PretrainedConfig

class ToyConfig(PretrainedConfig):
    model_type = "toydiff"

    def __init__(self, vocab_size=96, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, **kwargs):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.num_hidden_layers, self.num_attention_heads = num_hidden_layers, num_attention_heads
        super().__init__(**kwargs)
"""
MODELING = """
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from .configuration_toy import ToyConfig

class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(config.hidden_size, config.hidden_size, bias=False))

    def forward(self, x, mask):
        split = lambda t: t.view(*t.shape[:2], self.heads, -1).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(out.transpose(1, 2).flatten(2))

class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attn = Attention(config)
        self.up_proj = nn.Linear(config.hidden_size, 32, bias=False)
        self.down_proj = nn.Linear(32, config.hidden_size, bias=False)

    def forward(self, x, mask):
        x = x + self.attn(F.layer_norm(x, x.shape[-1:]), mask)
        return x + self.down_proj(F.gelu(self.up_proj(x)))

class ToyForMaskedDiffusion(PreTrainedModel):
    config_class = ToyConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        # Not stored: what from_pretrained leaves uninitialised.
        self.register_buffer("scale", torch.full((1,), 0.5), persistent=False)

    def forward(self, input_ids, attention_mask=None):
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        x = self.embed(input_ids) * self.scale
        for block in self.blocks:
            x = block(x, mask)
        return (self.head(x),)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "toy"
    path.mkdir()
    (path / "configuration_toy.py").write_text(CONFIGURATION)
    (path / "modeling_toy.py").write_text(MODELING)
    config = {
        "model_type": "toydiff",
        "auto_map": {
            "AutoConfig": "configuration_toy.ToyConfig",
            "AutoModel": "modeling_toy.ToyForMaskedDiffusion",
            "AutoTokenizer": ["tokenization_toy.ToyTokenizer", None],
        },
        "vocab_size": 96,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config |= {"sap_objective": "masked_diffusion", "sap_shift_logits": False, "sap_block_size": 0}
    (path / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    shapes = {"embed": (96, 16), "head": (96, 16)}
    for i in range(2):
        shapes |= {f"blocks.{i}.attn.{name}_proj": (16, 16) for name in "qkvo"}
        shapes |= {f"blocks.{i}.up_proj": (32, 16), f"blocks.{i}.down_proj": (16, 32)}
    tensors = {f"{name}.weight": torch.randn(shape, generator=generator) / 4 for name, shape in shapes.items()}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    save_word_tokenizer(path)
    return path


def test_without_consent_nothing_runs(folder: Path) -> None:
    (folder / "modeling_toy.py").write_text("raise SystemExit(7)\n")
    info = inspect_model(str(folder))
    assert (info.family, info.layers, len(info.matrices)) == ("remote-diffusion", 2, 12)
    with pytest.raises(ModelProblem, match=r"needs its own Python code .*modeling_toy.*trust_remote_code=True"):
        load_model(str(folder))


def test_with_consent_it_computes_what_its_code_says(folder: Path) -> None:
    model = load_model(str(folder), device="cpu", trust_remote_code=True)
    tensors = load_file(folder / "model.safetensors")
    assert float(model.module.scale) == 0.5
    assert all(torch.equal(value, tensors[name]) for name, value in model.module.state_dict().items())
    assert model.logits(IDS).shape == (2, 10, 96)
    assert len(model.attentions) == len(model.blocks) == 2
    pad, ones = torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)
    padded = model.logits(torch.cat([IDS, pad], 1), torch.cat([ones, pad], 1))
    torch.testing.assert_close(padded[:, :-3], model.logits(IDS), atol=1e-5, rtol=1e-5)


def test_recording_its_attention_changes_nothing(folder: Path) -> None:
    model = load_model(str(folder), device="cpu", trust_remote_code=True)
    pad, ones = torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)
    found = []
    for ids, mask in ((IDS, None), (torch.cat([pad, IDS], 1), torch.cat([pad, ones], 1))):
        plain = model.logits(ids, mask)
        with record_attention(model) as recorder:
            assert torch.equal(model.logits(ids, mask), plain)
            found.append(recorder.collect().received)
    assert not found[1][..., :3].any()
    torch.testing.assert_close(found[1][..., 3:], found[0], atol=1e-6, rtol=1e-5)


def test_it_samples_and_saves(folder: Path, tmp_path: Path) -> None:
    model = load_model(str(folder), device="cpu", trust_remote_code=True, mask_token_id=2)
    spec = SamplingOptions.build(length=10, steps=4)
    *_, last = sample(model, build_canvas(model, ["w1 w2"], 10), spec)
    assert last.next_tokens[0, :2].tolist() == [5, 6]
    model.linears(0)["blocks.0.up_proj"].weight[0].zero_()
    model.save(tmp_path / "out")
    again = load_model(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    assert torch.equal(again.logits(IDS), model.logits(IDS))
    assert (tmp_path / "out" / "modeling_toy.py").read_text() == MODELING


def test_code_that_fails_is_told(folder: Path) -> None:
    (folder / "modeling_toy.py").write_text(MODELING.replace("nn.ModuleList(", "nn.NoSuchList("))
    with pytest.raises(ModelProblem, match=r"The code of .* fails on transformers"):
        load_model(str(folder), trust_remote_code=True)


def test_code_of_another_repository_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = "someone/else--modeling.Model"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelProblem, match=r"someone/else--modeling.Model"):
        load_model(str(folder), trust_remote_code=True)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelProblem, match=r"lacks 1 tensors its code calls for, first head.weight"):
        load_model(str(folder), trust_remote_code=True)


def test_code_for_transformers_4_finds_what_every_config_had(folder: Path) -> None:
    """Fields of old configs, and plain rotary positions by their name."""
    asked = """        assert config.use_cache and not config.output_attentions and not config.output_hidden_states
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
        config.rope_theta = 100.0
        inverse, scale = ROPE_INIT_FUNCTIONS["default"](config, None)
        assert scale == 1 and torch.allclose(inverse, torch.tensor([1, 100 ** -0.25, 0.1, 100 ** -0.75]))
"""
    start = "        super().__init__(config)\n        self.embed"
    (folder / "modeling_toy.py").write_text(MODELING.replace(start, f"{asked}{start}"))
    load_model(str(folder), device="cpu", trust_remote_code=True)
