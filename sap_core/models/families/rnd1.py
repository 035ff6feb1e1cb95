"""RND1 (Radical Numerics, 2025): a bidirectional Qwen3Moe under the same names, whose row i predicts token i + 1."""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family, model_type_is


def native_config(config: Config) -> Config:
    """Return RND1's config.json as that of a bidirectional Qwen3Moe; every layer is a mixture of experts."""
    sparse = {"mlp_only_layers": [], "decoder_sparse_step": 1}
    sizes = {**config, **sparse, "sliding_window": None, "rope_scaling": config.get("rope_scaling") or None}
    return {**sizes, "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "is_causal": False}


FAMILY = Family(
    name="rnd1",
    title="RND1",
    examples="RND1-Base 30B-A3B",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("rnd1"),
    native_config=native_config,
    architecture="Qwen3MoeForCausalLM",
    tokenizer="Qwen2Tokenizer",
    mask_token_id=151669,
    shift_logits=lambda config: True,
    reserves_end=True,
    draws="before_shift",
    samplers=("entropy_linear", "entropy_bounded", "entropy", "maskgit_plus", "confidence_threshold", "p2"),
    units=("layers",),
    mixture=True,
    export="original names and config",
)
