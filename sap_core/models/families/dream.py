"""Dream: a bidirectional Qwen2 with the same tensor names, whose row i predicts token i + 1 (arXiv 2508.15487).

Its own code leaves the rotary frequencies uninitialised on current transformers: wrong logits without an error. The
native class gives the same logits bit for bit.
"""

from __future__ import annotations

from ..family import (
    MASKED_DIFFUSION,
    Config,
    Family,
    model_type_is,
)


def native_config(config: Config) -> Config:
    """Return Dream's config.json as that of a bidirectional Qwen2."""
    return {**config, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "is_causal": False}


FAMILY = Family(
    name="dream",
    title="Dream",
    examples="Dream 7B Base and Instruct, Dream-Coder, DiffuCoder",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("dream", "diffucoder"),
    native_config=native_config,
    architecture="Qwen2ForCausalLM",
    tokenizer="Qwen2Tokenizer",
    mask_token_id=151666,
    shift_logits=lambda config: True,
    uniform_noise=True,
    draws="dream",
    top_k=50,  # generation_config.json leaves it out and transformers 4.46, which its code needs, fills it in
    samplers=("entropy", "origin", "maskgit_plus", "topk_margin", "confidence_threshold", "entropy_bounded", "p2"),
    units=("channels", "layers"),
    export="original names and config",
)
