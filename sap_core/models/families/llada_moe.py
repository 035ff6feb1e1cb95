"""LLaDA-MoE: a bidirectional Qwen3Moe with the same tensor names; its config.json has names of its own.

It shares model_type "llada" with the dense LLaDA and is told apart by its experts.
"""

from __future__ import annotations

from ...errors import ModelProblem
from ..family import (
    MASKED_DIFFUSION,
    Config,
    Family,
    model_type_is,
)

_is_llada = model_type_is("llada", "lladamoe", "llada_moe")
# What its code can do and Qwen3Moe can't; every released checkpoint has these values.
FIXED = {
    "qk_layernorm": True,
    "moe_router_score_function": "softmax",
    "moe_router_enable_expert_bias": False,
    "routed_scaling_factor": 1,
    "partial_rotary_factor": 1,
    "clip_qkv": None,
    "rope_scaling": None,
    "shared_expert_intermediate_size": None,
}
SAME = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_experts", "num_experts_per_tok",
    "max_position_embeddings",
)  # fmt: skip


def matches(config: Config) -> bool:
    """Return whether this is LLaDA with experts."""
    return _is_llada(config) and config.get("num_experts") is not None


def native_config(config: Config) -> Config:
    """Return LLaDA-MoE's config.json as that of a bidirectional Qwen3Moe.

    Raises:
        ModelProblem: a field is missing, or the model is a variant that Qwen3Moe does not compute.
    """
    for field, value in FIXED.items():
        if config.get(field) not in (value, None):
            raise ModelProblem(f"LLaDA-MoE config has {field}={config[field]!r}; only {value!r} has a native class.")
    missing = [name for name in (*SAME, "expert_intermediate_size") if config.get(name) is None]
    if missing:
        raise ModelProblem(f"LLaDA-MoE config.json has no {missing[0]}; the config.json must be LLaDA-MoE's own.")
    heads = config["num_attention_heads"]
    return {
        **{name: config[name] for name in SAME},
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config["hidden_size"] // heads,
        "intermediate_size": config.get("dense_intermediate_size") or config["expert_intermediate_size"],
        "moe_intermediate_size": config["expert_intermediate_size"],
        "mlp_only_layers": [i for i, sparse in enumerate(config.get("moe_layer_freq") or []) if not sparse],
        "decoder_sparse_step": 1,
        "norm_topk_prob": False,  # its code never normalises, whatever the config says
        "hidden_act": config.get("hidden_act", "silu"),
        "rms_norm_eps": config.get("rms_norm_eps", 1e-5),
        "rope_theta": config.get("rope_theta", 10000.0),
        "attention_bias": bool(config.get("attention_bias", False)),
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
        "mask_token_id": config.get("mask_token_id"),
        "pad_token_id": config.get("pad_token_id"),
        "eos_token_id": config.get("eos_token_id"),
        "is_causal": False,
    }


FAMILY = Family(
    name="llada-moe",
    title="LLaDA-MoE",
    examples="LLaDA-MoE 7B-A1B Base and Instruct",
    objective=MASKED_DIFFUSION,
    matches=matches,
    native_config=native_config,
    architecture="Qwen3MoeForCausalLM",
    mask_token_id=156895,
    samplers=("low_confidence", "random", "confidence_threshold", "entropy_bounded"),
    units=("layers",),
    mixture=True,
    export="original names and config",
)
