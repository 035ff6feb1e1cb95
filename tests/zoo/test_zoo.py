"""Tiny models of many architectures: each is right, or refused by one line before any work. `make zoo` takes them all,
`make test` every third."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import save_word_tokenizer

import sap_core as sap
from sap_core.attention.recorder import record_attention
from sap_core.errors import SapError
from sap_core.models.loading import load_model

IDS = {"vocab_size": 96, "pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 1}
DECODER = IDS | {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
DECODER |= {"max_position_embeddings": 64, "num_key_value_heads": 2}
ENCODER = {name: value for name, value in DECODER.items() if name != "num_key_value_heads"}
GPT = IDS | {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
RIGHT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT),
    "gptj": ("GPTJConfig", "GPTJForCausalLM", GPT | {"rotary_dim": 4}),
    "codegen": ("CodeGenConfig", "CodeGenForCausalLM", GPT | {"rotary_dim": 4}),
    "ctrl": ("CTRLConfig", "CTRLLMHeadModel", GPT | {"dff": 64}),
    "bloom": ("BloomConfig", "BloomForCausalLM", IDS | {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "gpt-neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", ENCODER),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", DECODER | {"head_dim": 8, "attn_logit_softcapping": 2.0}),
    "lfm2": ("Lfm2Config", "Lfm2ForCausalLM", DECODER | {"full_attn_idxs": [1], "block_multiple_of": 8}),
    "roberta-causal": ("RobertaConfig", "RobertaForCausalLM", ENCODER | {"is_decoder": True, "pad_token_id": 1}),
    "d-granite": ("GraniteConfig", "GraniteForCausalLM", DECODER | {"is_causal": False}),
    "albert": ("AlbertConfig", "AlbertForMaskedLM", ENCODER | {"embedding_size": 16}),
    "deberta": ("DebertaConfig", "DebertaForMaskedLM",
                ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "mpnet": ("MPNetConfig", "MPNetForMaskedLM", ENCODER | {"pad_token_id": 1}),
    "data2vec": ("Data2VecTextConfig", "Data2VecTextForMaskedLM", ENCODER | {"pad_token_id": 1}),
    "mobilebert": ("MobileBertConfig", "MobileBertForMaskedLM",
                   ENCODER | {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32}),
}  # fmt: skip
REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "mamba": ("MambaConfig", "MambaForCausalLM", IDS | {"hidden_size": 32, "num_hidden_layers": 2}, "attention heads"),
    "diffllama": ("DiffLlamaConfig", "DiffLlamaForCausalLM", DECODER, "6 attention maps in one pass"),
    "big-bird": ("BigBirdConfig", "BigBirdForMaskedLM", ENCODER, "block-sparsely"),
    "t5": ("T5Config", "T5ForConditionalGeneration",
           IDS | {"d_model": 32, "d_kv": 8, "num_layers": 2, "num_heads": 4, "d_ff": 64}, "encoder-decoder"),
    "sentence-encoder": ("BertConfig", "BertModel", ENCODER, "without a head that predicts tokens"),
}  # fmt: skip


def some(table: dict[str, Any]) -> list[str]:
    names = sorted(table)
    return names if os.environ.get("ZOO") == "all" else names[::3]


def save(folder, config: str, kind: str, fields: dict[str, Any]):
    torch.manual_seed(1)
    model = getattr(transformers, kind)(getattr(transformers, config)(**fields)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim >= 2:
                value.mul_(3.0 if "embed" in name or "wte" in name else 6.0)  # attention that is not flat
    model.save_pretrained(folder)
    save_word_tokenizer(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(RIGHT))
def test_attention_is_the_class_own_and_pruning_is_what_was_asked(tmp_path, name: str):
    config, kind, fields = RIGHT[name]
    folder = save(tmp_path / "model", config, kind, fields)
    model = load_model(folder)
    tokens = torch.randint(4, 90, (2, 20), generator=torch.Generator().manual_seed(0))
    plain = model.logits(tokens)
    with record_attention(model) as recorder:
        assert torch.equal(model.logits(tokens), plain)
        stats = recorder.collect()
    stock = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        maps = [each for each in stock(input_ids=tokens, output_attentions=True).attentions if each is not None]
    torch.testing.assert_close(stats.received, torch.stack(maps, 1).mean(-2), atol=1e-5, rtol=1e-4)
    run = sap.capture(model, prompt="w1 w2 w3", length=12, steps=4, out=tmp_path / "run")
    ranked = sap.rank_heads(run)
    assert np.isfinite(ranked.to_numpy(float)).all()
    assert set(ranked["layer"]) == ({1} if name == "lfm2" else {0, 1, 2})
    np.save(tmp_path / "ids.npy", tokens.numpy())
    if model.info.no_pruning:
        with pytest.raises(SapError, match="can't be pruned"):
            sap.prune(model, method="wanda", sparsity=0.5, calibration=str(tmp_path / "ids.npy"), samples=2)
        return
    pruned = sap.prune(model, method="wanda", sparsity=0.5, calibration=str(tmp_path / "ids.npy"), samples=2)
    assert all(matrix["zeros"] >= matrix["planned_zeros"] for matrix in pruned.report["matrices"])


@pytest.mark.parametrize("name", some(REFUSED))
def test_what_can_not_be_read_is_named(tmp_path, name: str):
    config, kind, fields, cause = REFUSED[name]
    folder = save(tmp_path / "model", config, kind, fields)
    with pytest.raises(SapError, match=cause) as caught:
        sap.capture(load_model(folder), prompt="w1", length=8, steps=2, out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_matrices_that_are_split_on_loading_are_told_before_any_work(tmp_path):
    from sap_core.models.inspection import inspect_model

    folder = save(tmp_path / "model", "NomicBertConfig", "NomicBertForMaskedLM", ENCODER)
    info = inspect_model(folder)
    assert "Wqkv.weight when it loads it" in info.no_pruning and not info.patterns
    assert load_model(folder).info.no_pruning == info.no_pruning
