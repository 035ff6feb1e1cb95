"""SDAR: a block-causal Qwen3 (arXiv 2510.06303): attention within blocks of four tokens and to all before them."""

from __future__ import annotations

from ..family import (
    MASKED_DIFFUSION,
    Config,
    Family,
    model_type_is,
)

NATIVE = {"sdar": ("qwen3", "Qwen3ForCausalLM"), "sdar_moe": ("qwen3_moe", "Qwen3MoeForCausalLM")}
BLOCK_SIZE = 4


def native_config(config: Config) -> Config:
    """Return SDAR's config.json as that of a Qwen3 (or Qwen3Moe) without a mask of its own."""
    model_type, architecture = NATIVE[config["model_type"].lower()]
    return {**config, "model_type": model_type, "architectures": [architecture], "is_causal": False}


FAMILY = Family(
    name="sdar",
    title="SDAR block diffusion",
    examples="SDAR 1.7B to 30B-A3B, TraDo",
    objective=MASKED_DIFFUSION,
    matches=model_type_is(*NATIVE),
    native_config=native_config,
    natives=("qwen3", "qwen3_moe"),
    tokenizer="Qwen2Tokenizer",
    mask_token_id=151669,
    block_size=lambda config: config.get("block_size") or BLOCK_SIZE,
    draws="categorical",
    samplers=("low_confidence_dynamic", "low_confidence_static", "confidence_threshold"),
    units=("heads", "channels", "layers"),
    mixture=True,
    export="original names and config",
    adapter="block_causal",
)
