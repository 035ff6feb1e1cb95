"""Tiny checkpoints in several families' formats, cut into shards; the same seed gives the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import save_word_tokenizer

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
# format -> (native class, fields of its config, fields that config.json gets on top)
FORMATS = {
    "llama": ("Llama", {"tie_word_embeddings": True}, {"is_causal": False, "mask_token_id": 2}),
    "llama-ar": ("Llama", {"attention_bias": True}, {}),
    "dream": ("Qwen2", {}, {"model_type": "Dream", "mask_token_id": 2}),
    "sdar": ("Qwen3", {"head_dim": 8}, {"model_type": "sdar", "mask_token_id": 2}),
    "mistral": ("Mistral", {"sliding_window": 8}, {}),
    "llada-moe": (
        "Qwen3Moe",
        {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
         "mlp_only_layers": [0], "norm_topk_prob": False},
        {"model_type": "llada", "num_experts": 4, "expert_intermediate_size": 24, "dense_intermediate_size": 64,
         "moe_layer_freq": [0, 1, 1], "qk_layernorm": True, "moe_router_score_function": "softmax",
         "mask_token_id": 2, "rope_theta": 10000.0},
    ),
}  # fmt: skip


def save_sharded(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> Path:
    """A model of `FORMATS` in ``folder``, in shards of 40 KB."""
    kind, fields, stored = FORMATS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SHAPE, **fields)
    module = getattr(transformers, f"{kind}ForCausalLM")(config).to(dtype)
    module.save_pretrained(folder, max_shard_size="40KB")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | stored))
    save_word_tokenizer(folder)
    return folder


def save_ids(path: Path) -> str:
    """Five rows of twelve token ids: not a whole number of batches."""
    np.save(path, np.random.default_rng(0).integers(3, 96, (5, 12)))
    return str(path)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint folder by their stored names."""
    return {key: value for path in sorted(folder.glob("model*.safetensors")) for key, value in load_file(path).items()}


def add_tensor(folder: Path, name: str, value: torch.Tensor) -> None:
    """Puts one more tensor into the single weights file of ``folder``."""
    path = folder / "model.safetensors"
    save_file(load_file(path) | {name: value}, path, metadata={"format": "pt"})
