"""DiffusionGemma: its own generate, step by step; shared weights stored once."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import save_word_tokenizer

from sap_core.errors import InvalidInput
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"), reason="this transformers has no DiffusionGemma"
)
TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 8,
    "num_global_key_value_heads": 2,
    "max_position_embeddings": 128,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 16,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 3,
}
VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "position_embedding_size": 16,
}
PROMPTS = ["w1 w2 w3 w4 w5", "w6 w7"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diffusion-gemma")
    torch.manual_seed(0)
    config = transformers.DiffusionGemmaConfig(text_config=TEXT, vision_config=VISION, canvas_length=8)
    transformers.DiffusionGemmaForBlockDiffusion(config).save_pretrained(path)
    save_word_tokenizer(path, mask=False)
    return path


@pytest.fixture(scope="module")
def model(folder: Path):
    return load_model(str(folder), device="cpu")


def run(model, length: int = 21, steps: int = 12, seed: int = 1, **fields):
    spec = SamplingOptions.build(length=length, steps=steps, seed=seed, **fields)
    return sample(model, build_canvas(model, PROMPTS, length), spec)


def test_described_by_its_decoder(folder: Path) -> None:
    info = inspect_model(str(folder))
    assert (info.family, info.layers, info.heads, info.block_size, info.mask_token_id) == (
        "diffusion-gemma", 2, 4, 8, None
    )  # fmt: skip
    assert all(matrix.name.startswith("model.decoder.layers.") for matrix in info.matrices)
    assert "experts" in info.patterns and sum(".experts." in matrix.name for matrix in info.matrices) == 2 * 4 * 3


@pytest.mark.slow
@pytest.mark.parametrize(("canvases", "steps", "seed"), [(1, 8, 1), (1, 2, 1), (2, 6, 5), (3, 3, 2)])
def test_text_is_that_of_its_own_generate(model, canvases: int, steps: int, seed: int) -> None:
    length = 5 + 8 * canvases
    *_, last = run(model, length=length, steps=steps * canvases, seed=seed)
    assert torch.equal(last.next_tokens, own_text(model, last, length, steps, seed))


def own_text(model, last, length: int, steps: int, seed: int) -> torch.Tensor:
    """generate's own text; what it blanks behind an end token at the very end is shown as it was."""
    canvas = build_canvas(model, PROMPTS, length)
    torch.manual_seed(seed)
    expected = model.module.generate(
        canvas.tokens[:, :5],
        attention_mask=canvas.attention_mask[:, :5],
        max_new_tokens=length - 5,
        max_denoising_steps=steps,
    ).sequences
    return torch.where(expected == 0, last.next_tokens, expected)


def test_steps_are_those_of_its_own_generate(model) -> None:
    steps = list(run(model))
    shown = own_text(model, steps[-1], 21, 6, 1)
    assert torch.equal(steps[-1].next_tokens, shown)
    assert len(steps) == steps[0].total == 12
    for before, after in pairwise(steps):
        if after.index != 6:  # a new canvas begins
            assert torch.equal(before.next_tokens[:, :13], after.tokens[:, :13])
        kept = before.accepted
        assert torch.equal(after.tokens[kept], before.next_tokens[kept])
    assert steps[0].masked[:, 5:].all() and not steps[0].masked[:, :5].any()
    assert not (steps[-1].masked & ~steps[-1].accepted).any()


def test_stopping_early_ends_the_thread(model) -> None:
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    steps = run(model)
    next(steps)
    assert model.window is not None
    steps.close()
    assert set(threading.enumerate()) <= before and model.window is None
    assert "_denoising_step" not in vars(model.module)


def test_an_error_inside_generate_reaches_the_caller(model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_, **__):
        raise RuntimeError("no memory")

    monkeypatch.setattr(model.module.lm_head, "forward", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        list(run(model))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 20}, "15 tokens to fill, but .* canvases of 8; give length 21"),
        ({"temperature": 0.5}, "temperature is 0.5"),
        ({"guidance": 1.0}, "guidance is 1"),
        ({"sampler": "low_confidence"}, "does not fit"),
    ],
)
def test_what_it_can_not_do(model, fields: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        run(model, **fields)


def test_shared_weights_are_stored_once_and_stay_shared(model, folder: Path, tmp_path: Path) -> None:
    ids = torch.randint(3, 90, (2, 9), generator=torch.Generator().manual_seed(0))
    twin = model.clone()
    twin.linears(0)["model.decoder.layers.0.mlp.up_proj"].weight[0].zero_()
    assert not torch.equal(twin.logits(ids), model.logits(ids))
    twin.save(tmp_path)
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert [key for key in before if not torch.equal(before[key], after[key])] == [
        "model.decoder.layers.0.mlp.up_proj.weight"
    ]
    assert before.keys() == after.keys()
    again = load_model(str(tmp_path), device="cpu")
    encoder = again.module.model.encoder.language_model.layers[0].mlp.up_proj.weight
    assert not encoder[0].any()
    torch.testing.assert_close(again.logits(ids), twin.logits(ids), atol=1e-6, rtol=0)
