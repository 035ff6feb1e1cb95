"""BERT-like models: loaded natively, sampled as masked diffusion, saved under their own names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import save_word_tokenizer

from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

IDS = torch.randint(4, 96, (2, 12), generator=torch.Generator().manual_seed(0))
SHAPE = {
    "vocab_size": 96,
    "pad_token_id": 0,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
DISTIL = {
    "vocab_size": 96,
    "pad_token_id": 0,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
CONFIGS = {
    "Bert": SHAPE,
    "Roberta": SHAPE,
    "ModernBert": {**SHAPE, "cls_token_id": 3, "sep_token_id": 1, "bos_token_id": 3, "eos_token_id": 1},
    "EuroBert": {**SHAPE, "bos_token_id": 3, "eos_token_id": 1, "mask_token_id": 2},
    "DistilBert": DISTIL,
}


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = getattr(transformers, f"{request.param}Config")(**CONFIGS[request.param])
    getattr(transformers, f"{request.param}ForMaskedLM")(config).save_pretrained(path)
    save_word_tokenizer(path)
    return path


def test_logits_parts_and_round_trip(folder: Path, tmp_path: Path) -> None:
    info = inspect_model(str(folder))
    assert (info.family, info.objective, info.layers, info.heads) == ("masked-lm", "masked_diffusion", 2, 4)
    assert (info.hidden, info.ffn, info.mask_token_id) == (32, 64, 2)
    assert info.max_length == (63 if "Roberta" in folder.name else 64)
    model = load_model(str(folder), device="cpu")
    stock = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(model.logits(IDS), stock(IDS).logits)
    assert len(model.attentions) == len(model.blocks) == 2
    assert model.output_projection(1).in_features == 32
    assert "other" not in {matrix.kind for matrix in info.matrices}
    model.output_projection(0).weight[0].zero_()
    model.save(tmp_path)
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model.logits(IDS))
    assert load_file(tmp_path / "model.safetensors").keys() == load_file(folder / "model.safetensors").keys()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(folder: Path, side: str) -> None:
    model = load_model(str(folder), device="cpu")
    pad, ones = torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)
    parts = ([pad, IDS], [pad, ones]) if side == "left" else ([IDS, pad], [ones, pad])
    padded = model.logits(torch.cat(parts[0], 1), torch.cat(parts[1], 1))
    valid = padded[:, 3:] if side == "left" else padded[:, :-3]
    torch.testing.assert_close(valid, model.logits(IDS), atol=2e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["auto", "mdlm"])
def test_samples_without_ever_writing_a_mask(folder: Path, sampler: str) -> None:
    model = load_model(str(folder), device="cpu")
    canvas = build_canvas(model, ["w1 w2", "w3"], 12)
    spec = SamplingOptions.build(length=12, steps=5, sampler=sampler, temperature=1.0)
    *_, last = sample(model, canvas, spec)
    assert not (last.next_tokens == 2).any() and last.next_tokens[0, :2].tolist() == [5, 6]


def test_the_closing_token_closes_the_canvas(tmp_path: Path) -> None:
    from tokenizers import processors

    torch.manual_seed(0)
    transformers.BertForMaskedLM(transformers.BertConfig(**SHAPE)).save_pretrained(tmp_path)
    save_word_tokenizer(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_special_tokens({"cls_token": "<unk>", "sep_token": "<eos>"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<unk> $A <eos>", special_tokens=[("<unk>", 3), ("<eos>", 1)]
    )
    tokenizer.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    canvas = build_canvas(model, ["w1 w2", ""], 7)
    assert canvas.tokens.tolist() == [[3, 5, 6, 2, 2, 2, 1], [3, 2, 2, 2, 2, 2, 1]]
    assert canvas.prompt_lengths == (3, 1) and canvas.fill == 5


def test_berts_old_names_of_its_norms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stock = transformers.BertForMaskedLM(transformers.BertConfig(**SHAPE)).eval()
    stock.save_pretrained(tmp_path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {}
    for key, value in load_file(tmp_path / "model.safetensors").items():
        for new, name in old.items():
            key = key.replace(new, name)
        tensors[key] = value
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = load_model(str(tmp_path), device="cpu")
    with torch.no_grad():
        assert torch.equal(model.logits(IDS), stock(IDS).logits)
    model.save(tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == tensors.keys()
