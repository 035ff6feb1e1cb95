"""The real LLaDA-8B and Dream-7B: their configs and key lists map completely, checked without a weight."""

from __future__ import annotations

from typing import Any

import pytest

from sap_core.models.headers import StoredTensor
from sap_core.models.inspection import describe
from sap_core.models.reading import empty_module, native_config_object
from sap_core.models.source import Source

LLADA = {
    "model_type": "llada", "architectures": ["LLaDAModelLM"], "activation_type": "silu", "alibi": False,
    "attention_layer_norm": False, "block_group_size": 1, "block_type": "llama", "d_model": 4096,
    "embedding_size": 126464, "eos_token_id": 126081, "include_bias": False, "include_qkv_bias": False,
    "input_emb_norm": False, "layer_norm_type": "rms", "mask_token_id": 126336, "max_sequence_length": 4096,
    "mlp_hidden_size": 12288, "mlp_ratio": 4, "n_heads": 32, "n_kv_heads": 32, "n_layers": 32, "pad_token_id": 126081,
    "rms_norm_eps": 1e-05, "rope": True, "rope_theta": 500000.0, "scale_logits": False, "vocab_size": 126464,
    "weight_tying": False,
}  # fmt: skip
DREAM = {
    "model_type": "Dream", "architectures": ["DreamModel"], "attention_dropout": 0.0, "hidden_act": "silu",
    "hidden_size": 3584, "intermediate_size": 18944, "mask_token_id": 151666, "max_position_embeddings": 131072,
    "max_window_layers": 28, "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
    "pad_token_id": 151643, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000.0,
    "sliding_window": None, "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 152064,
}  # fmt: skip


def llada_tensors() -> dict[str, tuple[int, ...]]:
    wide, vocabulary = 4096, 126464
    shapes = {
        "model.transformer.wte.weight": (vocabulary, wide),
        "model.transformer.ln_f.weight": (wide,),
        "model.transformer.ff_out.weight": (vocabulary, wide),
    }
    for i in range(32):
        block = f"model.transformer.blocks.{i}."
        shapes |= {f"{block}{name}.weight": (wide, wide) for name in ("q_proj", "k_proj", "v_proj", "attn_out")}
        shapes |= {f"{block}{name}.weight": (12288, wide) for name in ("ff_proj", "up_proj")}
        shapes |= {f"{block}ff_out.weight": (wide, 12288)}
        shapes |= {f"{block}{name}.weight": (wide,) for name in ("attn_norm", "ff_norm")}
    return shapes


def dream_tensors() -> dict[str, tuple[int, ...]]:
    wide, vocabulary, narrow = 3584, 152064, 512
    shapes = {
        "model.embed_tokens.weight": (vocabulary, wide),
        "model.norm.weight": (wide,),
        "lm_head.weight": (vocabulary, wide),
    }
    for i in range(28):
        block = f"model.layers.{i}."
        for name, rows in (("q", wide), ("k", narrow), ("v", narrow)):
            shapes[f"{block}self_attn.{name}_proj.weight"] = (rows, wide)
            shapes[f"{block}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{block}self_attn.o_proj.weight"] = (wide, wide)
        shapes |= {f"{block}mlp.{name}_proj.weight": (18944, wide) for name in ("gate", "up")}
        shapes[f"{block}mlp.down_proj.weight"] = (wide, 18944)
        shapes |= {f"{block}{name}.weight": (wide,) for name in ("input_layernorm", "post_attention_layernorm")}
    return shapes


@pytest.mark.parametrize(
    ("config", "shapes", "facts"),
    [
        (LLADA, llada_tensors(), {"family": "llada", "parameters": 8_015_581_184, "mask": 126336, "keys": 291}),
        (DREAM, dream_tensors(), {"family": "dream", "parameters": 7_615_616_512, "mask": 151666, "keys": 339}),
    ],
    ids=["LLaDA-8B", "Dream-7B"],
)
def test_every_key_and_shape(config: dict[str, Any], shapes: dict[str, tuple[int, ...]], facts: dict[str, Any]) -> None:
    tensors = tuple(StoredTensor(key, shape, "bfloat16", "model.safetensors") for key, shape in shapes.items())
    info = describe(Source("real", None, config, tensors, {"vocabulary": {}}))
    assert (info.family, info.parameters, info.mask_token_id) == (facts["family"], facts["parameters"], facts["mask"])
    assert len(info.matrices) == 7 * info.layers and info.bytes == 2 * info.parameters
    state = empty_module(info, native_config_object(info)).state_dict()
    native = {name: tuple(value.shape) for name, value in state.items()}
    assert len(shapes) == facts["keys"]
    assert {info.keys[key]: shape for key, shape in shapes.items()} == native


@pytest.mark.parametrize("config", [LLADA, DREAM], ids=["LLaDA-8B", "Dream-7B"])
def test_a_config_that_forgets_the_mask_token(config: dict[str, Any]) -> None:
    tensors = (StoredTensor("lm_head.weight", (config["vocab_size"], 8), "bfloat16", "model.safetensors"),)
    bare = {key: value for key, value in config.items() if key != "mask_token_id"}
    info = describe(Source("real", None, bare, tensors, {"vocabulary": {}}))
    assert info.mask_token_id == config["mask_token_id"]
