"""Every decoder class that transformers registers, with ``is_causal`` false: its first row sees the last token, or the
folder is refused. `make zoo` takes them all, `make test` every third."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import transformers
from tiny_models import save_word_tokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sap_core.errors import SapError
from sap_core.models.loading import load_model

TINY = {
    "vocab_size": 96, "pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 1, "hidden_size": 16, "d_model": 16,
    "n_embd": 16, "num_hidden_layers": 2, "n_layer": 2, "num_layers": 2, "decoder_layers": 2, "encoder_layers": 2,
    "num_attention_heads": 2, "n_head": 2, "num_heads": 2, "decoder_attention_heads": 2, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 32, "ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_ffn_dim": 32, "n_inner": 32,
    "moe_intermediate_size": 32, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "max_position_embeddings": 64, "n_positions": 64, "is_decoder": True, "is_causal": False,
}  # fmt: skip
LARGEST = 2_000_000  # parameters of what still counts as tiny
NAMES = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def tiny(name: str) -> torch.nn.Module | None:
    """A decoder of the kind with random weights; None where these fields do not make a small one."""
    try:
        config = transformers.CONFIG_MAPPING[name](**TINY)
        kind = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name])
        with torch.device("meta"):
            size = sum(weight.numel() for weight in kind(config).parameters())
        return None if size > LARGEST else kind(config).eval()
    except Exception:  # a config that wants fields of its own
        return None


def outcome(name: str, folder: Path) -> str:
    """ "not tiny", "refused", or "seen": asserts that a model that loads is bidirectional in fact."""
    torch.manual_seed(0)
    model = tiny(name)
    if model is None:
        return "not tiny"
    model.save_pretrained(folder)
    save_word_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"is_causal": False}))
    try:
        loaded = load_model(str(folder), mask_token_id=2)
    except SapError as error:
        assert "\n" not in str(error)
        return "refused"
    assert loaded.is_diffusion, name
    tokens = (7 + 5 * torch.arange(8)) % 90 + 4
    changed = tokens.clone()
    changed[-1] += 1
    first, other = loaded.logits(torch.stack([tokens, changed]))[:, 0]
    assert (first - other).abs().max() > 1e-6 * first.abs().max(), f"{name}: the first row sees no later token"
    return "seen"


@pytest.mark.slow
@pytest.mark.parametrize("third", range(3))
def test_a_decoder_said_to_be_bidirectional_is_or_is_refused(tmp_path, third):
    if third and os.environ.get("ZOO") != "all":
        pytest.skip("make zoo takes the other two thirds")
    found = {name: outcome(name, tmp_path / name) for name in NAMES[third::3]}
    counts = {state: sum(each == state for each in found.values()) for state in ("seen", "refused", "not tiny")}
    assert counts["seen"] >= 10, counts  # the check is not of nothing
