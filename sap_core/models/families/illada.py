"""iLLaDA (arXiv 2606.25331): a bidirectional Llama with grouped queries and tied embeddings, under Llama's names.

Row i predicts token i, and token 5, the added token <[MASK]>, is the mask, which neither config.json nor the tokenizer
declares; LLaDA's samplers apply as they are. Sizes are those of the paper's table (32 layers of 4096, 32 query and 8
key heads, 14336 channels, 155136 tokens, 8192 positions); model_type, names and mask are those by which public code
that runs GSAI-ML/iLLaDA-8B calls it (ILLaDAForCausalLM). Its own modelling code was not at hand to compare with.
"""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family, model_type_is


def native_config(config: Config) -> Config:
    """Return iLLaDA's config.json as that of a bidirectional Llama."""
    return {**config, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "is_causal": False}


FAMILY = Family(
    name="illada",
    title="iLLaDA",
    examples="iLLaDA 8B Base and Instruct",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("illada"),
    native_config=native_config,
    architecture="LlamaForCausalLM",
    mask_token_id=5,
    samplers=("low_confidence", "random", "confidence_threshold", "entropy_bounded"),
    units=("channels", "layers"),
    export="original names and config",
)
