"""iLLaDA (arXiv 2606.25331): a bidirectional Llama with grouped queries and tied embeddings, under Llama's names.

Row i predicts token i, and token 5 is the mask; LLaDA's samplers apply as they are.
"""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family, model_type_is


def native_config(config: Config) -> Config:
    """iLLaDA's config.json as that of a bidirectional Llama."""
    return {**config, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "is_causal": False}


FAMILY = Family(
    name="illada",
    title="iLLaDA",
    examples="iLLaDA 8B Base and Instruct",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("illada", "illada_8b"),
    native_config=native_config,
    architecture="LlamaForCausalLM",
    mask_token_id=5,
    samplers=("low_confidence", "random", "confidence_threshold", "entropy_bounded"),
    units=("channels", "layers"),
    export="original names and config",
)
