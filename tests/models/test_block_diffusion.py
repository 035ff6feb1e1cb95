"""Block-causal models: SDAR and A2D."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from chosen import mostly_slow
from safetensors.torch import load_file
from tiny_models import save_word_tokenizer

from sap_core.errors import InvalidInput
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

IDS = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
MASK = 2
SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


def made(folder: Path, model_type: str, name: str, **fields: object) -> Path:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SHAPE, **fields, initializer_range=0.2)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text())
    stored |= {"model_type": model_type, "mask_token_id": MASK, **fields}
    (folder / "config.json").write_text(json.dumps(stored))
    save_word_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def sdar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("sdar"), "sdar", "Qwen3", head_dim=8)


def test_recognised(sdar: Path, tmp_path: Path) -> None:
    info = inspect_model(str(sdar))
    assert (info.family, info.block_size, info.mask_token_id) == ("sdar", 4, MASK)
    whole = inspect_model(str(made(tmp_path / "whole", "a2d-llama", "Llama")))
    assert (whole.family, whole.block_size) == ("a2d", None)
    blocks = inspect_model(str(made(tmp_path / "blocks", "a2d-qwen2", "Qwen2", block_size=8)))
    assert (blocks.family, blocks.block_size) == ("a2d-blocks", 8)


def test_blocks_see_themselves_and_what_is_before(sdar: Path) -> None:
    model = load_model(str(sdar), device="cpu")
    before = model.logits(IDS)
    later = IDS.clone()
    later[:, 7] = 5  # the last token of the second block
    changed = (model.logits(later) != before).any(-1).any(0).tolist()
    assert changed == [False] * 4 + [True] * 8


def test_one_block_is_a_bidirectional_model(sdar: Path) -> None:
    config = transformers.Qwen3Config(**SHAPE, head_dim=8)
    config.is_causal = False
    stock = transformers.Qwen3ForCausalLM.from_pretrained(sdar, config=config).eval()
    with torch.no_grad():
        expected = stock(IDS[:, :4]).logits
    torch.testing.assert_close(load_model(str(sdar), device="cpu").logits(IDS[:, :4]), expected, atol=1e-5, rtol=1e-5)


def test_the_whole_canvas_variant_sees_everything(tmp_path: Path) -> None:
    model = load_model(str(made(tmp_path, "a2d-qwen3", "Qwen3", head_dim=8)), device="cpu")
    later = IDS.clone()
    later[:, -1] = 5
    assert (model.logits(later) != model.logits(IDS)).any(-1).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(sdar: Path, side: str) -> None:
    model = load_model(str(sdar), device="cpu")
    pad, ones = torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)
    parts = ([pad, IDS], [pad, ones]) if side == "left" else ([IDS, pad], [ones, pad])
    padded = model.logits(torch.cat(parts[0], 1), torch.cat(parts[1], 1))
    valid = padded[:, 3:] if side == "left" else padded[:, :-3]
    torch.testing.assert_close(valid, model.logits(IDS), atol=2e-5, rtol=1e-4)


def run(model, prompts: list[str], **fields):
    spec = SamplingOptions.build(length=20, **fields)
    return list(sample(model, build_canvas(model, prompts, 20), spec))


@pytest.mark.parametrize("fields", mostly_slow([{}, {"guidance": 1.5}, {"steps": 6, "threshold": 0.05}], 1))
@pytest.mark.parametrize("sampler", ["low_confidence_static", "low_confidence_dynamic"])
def test_kept_blocks_give_the_same_text_as_whole_forwards(sdar: Path, sampler: str, fields: dict) -> None:
    if sampler == "low_confidence_static":
        fields = {name: value for name, value in fields.items() if name != "threshold"}
    model = load_model(str(sdar), device="cpu")
    kept = run(model, ["w1 w2 w3 w4 w5", "w6"], sampler=sampler, **fields)
    sizes = []
    model.module.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    run(model, ["w1 w2 w3 w4 w5", "w6"], sampler=sampler, **fields)
    assert max(sizes) <= 4
    type(model).recorded, before = True, type(model).recorded
    try:
        whole = run(model, ["w1 w2 w3 w4 w5", "w6"], sampler=sampler, **fields)
    finally:
        type(model).recorded = before
    assert max(sizes) == 20 and len(kept) == len(whole)
    for one, other in zip(kept, whole, strict=True):
        assert torch.equal(one.next_tokens, other.next_tokens)
        torch.testing.assert_close(one.confidence, other.confidence, atol=1e-4, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("blank_prompt", [False, True])
def test_what_finished_blocks_keep_does_not_change_by_a_bit(sdar: Path, blank_prompt: bool) -> None:
    """However often the open block is computed, and with whatever in it, the blocks before it give the same numbers."""
    model = load_model(str(sdar), device="cpu")
    columns = torch.arange(12)

    def through(ids: torch.Tensor, tries: int) -> torch.Tensor:
        memory, found = {}, []
        for block in range(3):
            span = columns // 4 == block
            for number in range(tries):
                blurred = torch.where(span & (columns % 4 >= number), MASK, ids)
                model.span_logits(blurred, span, memory)
            found.append(model.span_logits(ids, span, memory))
            kept = memory["cache"].layers[0].keys.shape[2]
            assert kept == 4 * block
        return torch.cat(found, 1)

    ids = IDS.masked_fill(columns < 5, MASK) if blank_prompt else IDS
    assert torch.equal(through(ids, 0), through(ids, 4))
    torch.testing.assert_close(through(ids, 3), model.logits(ids), atol=1e-5, rtol=1e-5)


def test_dynamic_decoding_is_sdars(sdar: Path) -> None:
    """SDAR's block_diffusion_generate for one prompt, written out with whole forwards."""
    model = load_model(str(sdar), device="cpu")
    threshold = 0.06
    ids = torch.tensor([model.encode("w1 w2 w3 w4 w5 w6") + [MASK] * 14])
    for start in range(4, 20, 4):
        for _ in range(4):
            open_ = (ids[0] == MASK) & (torch.arange(20) >= start) & (torch.arange(20) < start + 4)
            if not open_.any():
                break
            probabilities, predicted = torch.softmax(model.logits(ids)[0], -1).max(-1)
            sure = open_ & (probabilities > threshold)
            if not sure.any():
                sure[probabilities.masked_fill(~open_, -1).argmax()] = True
            ids[0, sure] = predicted[sure]
    steps = run(model, ["w1 w2 w3 w4 w5 w6"], threshold=threshold)
    assert torch.equal(steps[-1].next_tokens, ids)
    assert len(steps) < 12


def test_blocks_are_the_models_own(sdar: Path) -> None:
    with pytest.raises(InvalidInput, match="has blocks of 4"):
        run(load_model(str(sdar), device="cpu"), ["w1"], block_length=8)


def test_saves_with_its_own_config(sdar: Path, tmp_path: Path) -> None:
    load_model(str(sdar), device="cpu").save(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == (sdar / "config.json").read_bytes()
    before, after = load_file(sdar / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
