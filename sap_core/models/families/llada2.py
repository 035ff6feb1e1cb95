"""LLaDA2.x: a block-causal mixture of experts, 16B and 100B (arXiv 2512.15745); row i predicts token i.

transformers has no class for it; `sap_core.models.native.llada2_moe` is ours, under the published tensor names.
"""

from __future__ import annotations

from ...errors import ModelProblem
from ..family import MASKED_DIFFUSION, Config, Family, model_type_is

BLOCK_SIZE = 32
NEEDED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_experts",
    "num_experts_per_tok", "n_group", "topk_group", "moe_intermediate_size",
)  # fmt: skip
# Given in published configs, of no effect on a forward pass, or misread by transformers' caches.
LEFT_OUT = (
    "auto_map", "sliding_window", "use_sliding_window", "max_window_layers", "rope_scaling", "rotary_dim",
    "router_dtype", "score_function", "norm_head", "norm_topk_prob", "output_router_logits",
    "moe_router_enable_expert_bias",
)  # fmt: skip
# What the published code can be told and no published checkpoint is told.
FIXED = {"rope_scaling": None, "use_sliding_window": False, "score_function": "sigmoid", "norm_head": False}


def native_config(config: Config) -> Config:
    """Return LLaDA2's config.json without the fields that the native class does not use.

    Raises:
        ModelProblem: a field is missing, or the model is a variant that the native class does not compute.
    """
    for field, value in FIXED.items():
        if config.get(field) not in (value, None):
            raise ModelProblem(f"LLaDA2 config has {field}={config[field]!r}; only {value!r} has a native class.")
    missing = [name for name in NEEDED if config.get(name) is None]
    if missing:
        raise ModelProblem(f"LLaDA2 config.json has no {missing[0]}; the config.json must be LLaDA2's own.")
    kept = {name: value for name, value in config.items() if name not in LEFT_OUT}
    return {**kept, "model_type": "sap_llada2_moe"}


FAMILY = Family(
    name="llada2",
    title="LLaDA2",
    examples="LLaDA2.0 and 2.1 mini (16B-A1B) and flash (100B-A6B)",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("llada2_moe"),
    native_config=native_config,
    architecture="sap_core.models.native.llada2_moe:LLaDA2MoeModelLM",
    mask_token_id=156895,
    block_size=lambda config: config.get("block_size") or BLOCK_SIZE,
    draws="categorical",
    threshold=0.95,
    samplers=("low_confidence_dynamic", "low_confidence_static", "confidence_threshold", "token_editing"),
    units=("layers",),
    mixture=True,
    export="original names and config",
    adapter="block_causal",
)
