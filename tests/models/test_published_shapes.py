"""The real sizes, on the meta device: every published key and shape has its place, and nothing else is called for."""

from __future__ import annotations

import pytest
from test_diffusion_transformer import SIZES, published_shapes

from sap_core.models.family_registry import recognise
from sap_core.models.headers import StoredTensor
from sap_core.models.inspection import describe
from sap_core.models.reading import check_shapes, empty_module, native_config_object
from sap_core.models.source import Source

LLADA2_MINI = {
    "architectures": ["LLaDA2MoeModelLM"], "first_k_dense_replace": 1, "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 5120, "max_position_embeddings": 32768, "max_window_layers": 20,
    "model_type": "llada2_moe", "moe_intermediate_size": 512, "moe_router_enable_expert_bias": True, "n_group": 8,
    "norm_head": False, "norm_topk_prob": True, "num_attention_heads": 16, "num_experts": 256,
    "num_experts_per_tok": 8, "num_hidden_layers": 20, "num_key_value_heads": 4, "num_shared_experts": 1,
    "pad_token_id": 156892, "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 600000, "routed_scaling_factor": 2.5, "score_function": "sigmoid",
    "tie_word_embeddings": False, "topk_group": 4, "use_bias": False, "use_qk_norm": True, "use_qkv_bias": False,
    "vocab_size": 157184,
}  # fmt: skip
RND1 = {
    "architectures": ["RND1LM"], "attention_bias": False, "decoder_sparse_step": 1, "head_dim": 128,
    "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144, "mask_token_id": 151669,
    "max_position_embeddings": 40960, "mlp_only_layers": [], "model_type": "rnd1", "moe_intermediate_size": 768,
    "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
    "num_hidden_layers": 48, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_scaling": False,
    "rope_theta": 1000000.0, "sliding_window": False, "tie_word_embeddings": False, "use_sliding_window": False,
    "vocab_size": 151936,
}  # fmt: skip
MDLM = {**SIZES, "model_type": "mdlm", "vocab_size": 50258, "model_length": 1024, "hidden_dim": 768, "cond_dim": 128,
        "n_blocks": 12, "n_heads": 12}  # fmt: skip


# arXiv 2606.25331, table of architectures: grouped queries, tied embeddings, 7.62B parameters; Llama's names.
ILLADA = {
    "architectures": ["ILLaDAForCausalLM"], "attention_bias": False, "hidden_act": "silu", "hidden_size": 4096,
    "intermediate_size": 14336, "max_position_embeddings": 8192, "mlp_bias": False, "model_type": "illada",
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0, "tie_word_embeddings": True, "vocab_size": 155136,
}  # fmt: skip


def illada(config: dict) -> dict[str, tuple[int, ...]]:
    width, size = config["hidden_size"], config["intermediate_size"]
    keys = width // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], width), "model.norm.weight": (width,)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm.weight": (width,),
            f"{at}.post_attention_layernorm.weight": (width,),
            f"{at}.self_attn.q_proj.weight": (width, width),
            f"{at}.self_attn.k_proj.weight": (keys, width),
            f"{at}.self_attn.v_proj.weight": (keys, width),
            f"{at}.self_attn.o_proj.weight": (width, width),
        }
        shapes |= expert(f"{at}.mlp", width, size)
    return shapes


def expert(name: str, width: int, size: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.gate_proj.weight": (size, width),
        f"{name}.up_proj.weight": (size, width),
        f"{name}.down_proj.weight": (width, size),
    }


def llada2(config: dict) -> dict[str, tuple[int, ...]]:
    width, head, experts = config["hidden_size"], config["head_dim"], config["num_experts"]
    queries = config["num_attention_heads"] * head
    mixed = queries + 2 * config["num_key_value_heads"] * head
    shapes = {
        "model.word_embeddings.weight": (config["vocab_size"], width),
        "model.norm.weight": (width,),
        "lm_head.weight": (config["vocab_size"], width),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm.weight": (width,),
            f"{at}.post_attention_layernorm.weight": (width,),
            f"{at}.attention.query_key_value.weight": (mixed, width),
            f"{at}.attention.dense.weight": (width, queries),
            f"{at}.attention.query_layernorm.weight": (head,),
            f"{at}.attention.key_layernorm.weight": (head,),
        }
        if layer < config["first_k_dense_replace"]:
            shapes |= expert(f"{at}.mlp", width, config["intermediate_size"])
            continue
        shapes |= {f"{at}.mlp.gate.weight": (experts, width), f"{at}.mlp.gate.expert_bias": (experts,)}
        shapes |= expert(f"{at}.mlp.shared_experts", width, config["moe_intermediate_size"])
        for number in range(experts):
            shapes |= expert(f"{at}.mlp.experts.{number}", width, config["moe_intermediate_size"])
    return shapes


def rnd1(config: dict) -> dict[str, tuple[int, ...]]:
    width, head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {
        "model.embed_tokens.weight": (config["vocab_size"], width),
        "model.norm.weight": (width,),
        "lm_head.weight": (config["vocab_size"], width),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm.weight": (width,),
            f"{at}.post_attention_layernorm.weight": (width,),
            f"{at}.self_attn.q_proj.weight": (queries, width),
            f"{at}.self_attn.k_proj.weight": (keys, width),
            f"{at}.self_attn.v_proj.weight": (keys, width),
            f"{at}.self_attn.o_proj.weight": (width, queries),
            f"{at}.self_attn.q_norm.weight": (head,),
            f"{at}.self_attn.k_norm.weight": (head,),
            f"{at}.mlp.gate.weight": (config["num_experts"], width),
        }
        for number in range(config["num_experts"]):
            shapes |= expert(f"{at}.mlp.experts.{number}", width, config["moe_intermediate_size"])
    return shapes


PUBLISHED = {
    "illada": (ILLADA, illada(ILLADA), 7.62e9),
    "llada2": (LLADA2_MINI, llada2(LLADA2_MINI), 16.26e9),
    "rnd1": (RND1, rnd1(RND1), 30.53e9),
    "mdlm": (MDLM, published_shapes(768, 12, 50258, 128, 12), 0.1696e9),
    "bd3lm": ({**MDLM, "model_type": "bd3lm", "block_size": 16, "attn_backend": "flex", "adaln": True},
              published_shapes(768, 12, 50258, 128, 12) | {"sampling_eps_min": (), "sampling_eps_max": ()}, 0.1696e9),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.slow
def test_every_published_key_and_shape_is_accounted_for(name: str) -> None:
    config, shapes, size = PUBLISHED[name]
    assert recognise(config).name == name
    tensors = tuple(StoredTensor(key, shape, "bfloat16", "model.safetensors") for key, shape in shapes.items())
    source = Source(f"published/{name}", None, config, tensors, {"vocabulary": {}})
    info = describe(source)
    assert info.mask_token_id == {"illada": 5}.get(name, info.mask_token_id)
    assert info.parameters == pytest.approx(size, rel=0.01)
    check_shapes(source, info, native_config_object(info))
    built = empty_module(info, native_config_object(info)).state_dict()
    stored = {info.keys[key]: shape for key, shape in shapes.items() if not key.startswith("sampling_eps")}
    if config.get("tie_word_embeddings"):
        assert tuple(built.pop("lm_head.weight").shape) == shapes["model.embed_tokens.weight"]
    packed = {key: value for key, value in built.items() if ".experts." not in key or value.ndim == 2}
    assert {key: tuple(value.shape) for key, value in packed.items()} == {
        key: shape for key, shape in stored.items() if key in packed
    }
    # What transformers keeps packed: all experts of a layer in two tensors of the same size.
    assert sum(value.numel() for value in built.values()) == sum(
        StoredTensor("", shape, "", "").numel for shape in stored.values()
    )
