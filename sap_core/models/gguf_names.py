"""What llama.cpp calls a model and its parts: architectures, tensor names, how heads are rotated. No torch.

Read in the source of llama.cpp as llama-cpp-python 0.3.36 has it (src/models, conversion): `llama` and `llada` rotate
neighbouring pairs of a head, so that the rows of q and k are permuted; all others rotate its two halves, as
transformers does.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInput
from .family import AUTOREGRESSIVE
from .info import ModelInfo

FIXED = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
IN_BLOCK = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}
EXPERTS = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}
# Native class's type -> (architecture of one that writes left to right, of one that denoises the whole canvas).
_ARCHITECTURES = {
    "llama": ("llama", "llada"),
    "mistral": ("llama", "llada"),
    "qwen2": ("qwen2", "dream"),
    "qwen3": ("qwen3", ""),
    "qwen3_moe": ("qwen3moe", "llada-moe"),
}
_PERMUTED = ("llama", "llada")
_NORMALISES = {"qwen3moe": True, "rnd1": True, "llada-moe": False}  # whether the weights of chosen experts sum to 1


@dataclass(frozen=True)
class Architecture:
    """An architecture of llama.cpp; ``permuted``: the rows of q and k are reordered for its rotation."""

    name: str
    permuted: bool


def architecture_of(info: ModelInfo) -> Architecture:
    """Return the architecture that computes what a model computes.

    Raises:
        InvalidInput: there is none, or the model has a part that it has not.
    """
    config = info.native_config
    kind = str(config.get("model_type"))
    pair = _ARCHITECTURES.get(kind, ("", ""))
    name = pair[0 if info.objective == AUTOREGRESSIVE else 1]
    if name == "llada-moe" and info.family == "rnd1":
        name = "rnd1"
    known = ", ".join(sorted({each for both in _ARCHITECTURES.values() for each in both if each} | {"rnd1"}))
    where = f"{info.ref} can't be written as GGUF"
    if not name:
        raise InvalidInput(f"{where}: llama.cpp has no architecture for {kind}, {info.objective}; known: {known}.")
    if info.objective != AUTOREGRESSIVE and info.block_size:
        raise InvalidInput(f"{where}: it denoises blocks of {info.block_size} tokens, which {name} does not.")
    if config.get("per_layer_config"):
        raise InvalidInput(f"{where}: its layers differ in width, and {name} has one width for all; prune uniformly.")
    if config.get("sliding_window") and (kind == "mistral" or config.get("use_sliding_window")):
        raise InvalidInput(f"{where}: it attends within a sliding window, which {name} does not.")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise InvalidInput(f"{where}: positions are scaled ({rope.get('rope_type', rope.get('type'))}); not supported.")
    if float(rope.get("partial_rotary_factor", 1.0)) != 1.0 or config.get("hidden_act", "silu") != "silu":
        raise InvalidInput(f"{where}: {name} rotates whole heads and computes silu; this model does not.")
    if name in _NORMALISES and bool(config.get("norm_topk_prob")) != _NORMALISES[name]:
        raise InvalidInput(f"{where}: {name} has norm_topk_prob {_NORMALISES[name]}, and this model has the opposite.")
    return Architecture(name, name in _PERMUTED)


def gguf_name(native: str) -> tuple[str, int | None] | None:
    """Return (llama.cpp's name of a tensor, the number of the expert it is part of); None if it has none."""
    module, _, part = native.rpartition(".")
    if module in FIXED:
        return f"{FIXED[module]}.{part}", None
    head, _, rest = module.partition("model.layers.")
    if head or not rest:
        return None
    layer, _, inside = rest.partition(".")
    if inside.startswith("mlp.experts."):
        number, _, kind = inside.removeprefix("mlp.experts.").partition(".")
        return (f"blk.{layer}.{EXPERTS[kind]}.{part}", int(number)) if kind in EXPERTS else None
    return (f"blk.{layer}.{IN_BLOCK[inside]}.{part}", None) if inside in IN_BLOCK else None
