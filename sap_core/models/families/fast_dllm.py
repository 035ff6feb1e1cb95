"""Fast-dLLM v2 (arXiv 2509.26328): a block-causal Qwen2 under the same names, whose row i predicts token i + 1."""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family, model_type_is

BLOCK_SIZE = 32


def native_config(config: Config) -> Config:
    """Return Fast-dLLM v2's config.json as that of a Qwen2 without a mask of its own."""
    return {**config, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "is_causal": False}


FAMILY = Family(
    name="fast-dllm-v2",
    title="Fast-dLLM v2",
    examples="Fast-dLLM v2 1.5B and 7B",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("fast_dllm_qwen"),
    native_config=native_config,
    architecture="Qwen2ForCausalLM",
    tokenizer="Qwen2Tokenizer",
    mask_token_id=151665,
    shift_logits=lambda config: True,
    block_size=lambda config: config.get("bd_size") or BLOCK_SIZE,
    draws="categorical",
    threshold=0.9,
    samplers=("low_confidence_dynamic", "low_confidence_static", "confidence_threshold"),
    units=("channels", "layers"),
    export="original names and config",
    adapter="block_causal",
)
