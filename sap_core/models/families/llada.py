"""LLaDA: a bidirectional Llama under its own tensor names (arXiv 2502.09992).

Its own code does not run on current transformers; the native Llama class gives the same logits bit for bit.
"""

from __future__ import annotations

from ...errors import ModelProblem
from ..family import (
    MASKED_DIFFUSION,
    Config,
    Family,
    model_type_is,
)

# Order matters: the output head and a block's down projection are both called ff_out.
KEYS = (
    (r"^model\.transformer\.wte\.", "model.embed_tokens."),
    (r"^model\.transformer\.ln_f\.", "model.norm."),
    (r"^model\.transformer\.ff_out\.", "lm_head."),
    (r"^model\.transformer\.blocks\.", "model.layers."),
    (r"\.attn_norm\.", ".input_layernorm."),
    (r"\.ff_norm\.", ".post_attention_layernorm."),
    (r"\.q_proj\.", ".self_attn.q_proj."),
    (r"\.k_proj\.", ".self_attn.k_proj."),
    (r"\.v_proj\.", ".self_attn.v_proj."),
    (r"\.attn_out\.", ".self_attn.o_proj."),
    (r"\.ff_proj\.", ".mlp.gate_proj."),
    (r"\.up_proj\.", ".mlp.up_proj."),
    (r"\.ff_out\.", ".mlp.down_proj."),
)
# Variants of the LLaDA code that no native class computes; every released checkpoint has these values.
FIXED = {
    "block_type": "llama",
    "block_group_size": 1,
    "alibi": False,
    "rope": True,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "scale_logits": False,
    "activation_type": "silu",
}


def native_config(config: Config) -> Config:
    """Return LLaDA's config.json as that of a bidirectional Llama.

    Raises:
        ModelProblem: a field is missing, or the model is a variant that Llama does not compute.
    """
    for field, value in FIXED.items():
        if config.get(field, value) != value:
            raise ModelProblem(f"LLaDA config has {field}={config[field]!r}; only {value!r} has a native equivalent.")
    try:
        heads = config["n_heads"]
        hidden = config["d_model"]
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": config.get("embedding_size") or config["vocab_size"],
            "hidden_size": hidden,
            "intermediate_size": config.get("mlp_hidden_size") or config["mlp_ratio"] * hidden,
            "num_hidden_layers": config["n_layers"],
            "num_attention_heads": heads,
            "num_key_value_heads": config.get("n_kv_heads") or (1 if config.get("multi_query_attention") else heads),
            "max_position_embeddings": config["max_sequence_length"],
            "rms_norm_eps": config.get("rms_norm_eps", 1e-5),
            "rope_theta": config.get("rope_theta", 10000.0),
            "attention_bias": bool(config.get("include_qkv_bias") or config.get("include_bias")),
            "mlp_bias": bool(config.get("include_bias")),
            "hidden_act": "silu",
            "tie_word_embeddings": bool(config.get("weight_tying", False)),
            "pad_token_id": config.get("pad_token_id"),
            "bos_token_id": config.get("bos_token_id"),
            "eos_token_id": config.get("eos_token_id"),
            "mask_token_id": config.get("mask_token_id"),
            "is_causal": False,
        }
    except KeyError as error:
        raise ModelProblem(f"LLaDA config.json has no {error}; the folder's config.json must be LLaDA's own.") from None


FAMILY = Family(
    name="llada",
    title="LLaDA",
    examples="LLaDA 8B Base and Instruct, LLaDA-1.5, text side of MMaDA",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("llada", "mmada"),
    native_config=native_config,
    architecture="LlamaForCausalLM",
    key_mapping=KEYS,
    mask_token_id=126336,
    samplers=("low_confidence", "random", "confidence_threshold", "entropy_bounded"),
    units=("channels", "layers"),
    config_aliases=(("intermediate_size", "mlp_hidden_size"), ("num_hidden_layers", "n_layers")),
    export="original names and config",
)
