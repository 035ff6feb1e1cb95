"""A tiny model of every family, random weights, in the format in which that family is published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import GOLDEN, save_tiny_llama, save_word_tokenizer

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
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8}
ENCODER = {key: SHAPE[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                                       "num_attention_heads", "max_position_embeddings", "initializer_range",
                                       "pad_token_id")}  # fmt: skip
# Config fields of the published format -> the class that computes it, with that class' fields.
DECODERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "dream": ("Qwen2", {}, {"model_type": "Dream"}),
    "sdar": ("Qwen3", {"head_dim": 8}, {"model_type": "sdar"}),
    "sdar-moe": ("Qwen3Moe", {**EXPERTS, "norm_topk_prob": True}, {"model_type": "sdar_moe"}),
    "a2d-llama": ("Llama", {}, {"model_type": "a2d-llama"}),
    "a2d-qwen2": ("Qwen2", {}, {"model_type": "a2d-qwen2"}),
    "a2d-qwen3": ("Qwen3", {"head_dim": 8}, {"model_type": "a2d-qwen3"}),
    "a2d-blocks": ("Qwen3", {"head_dim": 8}, {"model_type": "a2d-qwen3", "block_size": 8}),
    "native-qwen3-moe": ("Qwen3Moe", {**EXPERTS, "norm_topk_prob": True}, {"is_causal": False}),
    "causal-qwen2": ("Qwen2", {}, {}),
}
ENCODERS = {
    "bert": ("Bert", ENCODER),
    "roberta": ("Roberta", ENCODER),
    "modernbert": ("ModernBert", {**ENCODER, "cls_token_id": 3, "sep_token_id": 1, "bos_token_id": 3,
                                  "eos_token_id": 1}),
    "eurobert": ("EuroBert", {**ENCODER, "bos_token_id": 3, "eos_token_id": 1, "mask_token_id": MASK}),
    "distilbert": ("DistilBert", {"vocab_size": 96, "pad_token_id": 0, "dim": 32, "n_layers": 2, "n_heads": 4,
                                  "hidden_dim": 64, "max_position_embeddings": 64, "initializer_range": 0.2}),
}  # fmt: skip
LLADA_MOE = {
    "architectures": ["LLaDAMoEModelLM"],
    "attention_bias": False,
    "dense_intermediate_size": 64,
    "expert_intermediate_size": 24,
    "hidden_act": "silu",
    "hidden_size": 32,
    "mask_token_id": MASK,
    "max_position_embeddings": 64,
    "model_type": "llada",
    "moe_layer_freq": [0, 1],
    "norm_topk_prob": None,
    "num_attention_heads": 4,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "qk_layernorm": True,
    "rms_norm_eps": 1e-05,
    "rope_theta": 50000,
    "tie_word_embeddings": False,
    "vocab_size": 96,
}
MASKED = ["llada", "llada-moe", "native-diffusion", *(name for name in DECODERS if name != "causal-qwen2"), *ENCODERS]
BLOCKS = {"sdar": 4, "sdar-moe": 4, "a2d-blocks": 8}  # tokens per block
CAUSAL = ["causal-llama", "causal-qwen2", "causal-gpt2"]
EVERY = [*MASKED, *CAUSAL]


def made(name: str, folder: Path) -> Path:
    """The tiny model ``name`` in ``folder``, which must not hold one yet."""
    torch.manual_seed(0)
    if name == "llada":
        shutil.copytree(GOLDEN / "tiny-llada", folder, dirs_exist_ok=True)
        save_word_tokenizer(folder, mask=False)  # its own has no mask token either
        return folder
    if name in ("native-diffusion", "causal-llama"):
        return save_tiny_llama(folder, causal=name != "native-diffusion")
    if name in ENCODERS:
        kind, fields = ENCODERS[name]
        getattr(transformers, f"{kind}ForMaskedLM")(getattr(transformers, f"{kind}Config")(**fields)).save_pretrained(
            folder
        )
    elif name == "causal-gpt2":
        config = transformers.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=3,
                                         eos_token_id=1, pad_token_id=0, initializer_range=0.2)  # fmt: skip
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    elif name == "llada-moe":
        fields = {**SHAPE, **EXPERTS, "num_key_value_heads": 4, "mlp_only_layers": [0], "norm_topk_prob": False,
                  "rms_norm_eps": 1e-5, "rope_theta": 50000.0}  # fmt: skip
        transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**fields)).save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps(LLADA_MOE))
    else:
        kind, own, published = DECODERS[name]
        config = getattr(transformers, f"{kind}Config")(**SHAPE, **own)
        getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)
        stored = json.loads((folder / "config.json").read_text()) | published
        if published:
            stored["mask_token_id"] = MASK
        (folder / "config.json").write_text(json.dumps(stored))
    save_word_tokenizer(folder)
    return folder
