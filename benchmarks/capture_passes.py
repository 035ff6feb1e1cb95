"""The forward passes that `capture.py` compares, of one random bidirectional model of Llama's shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from sap_core.attention.attention_rows import Attention, Buffers
from sap_core.attention.kernel_dispatch import attention_statistics, fusable
from sap_core.attention.observation import Queries
from sap_core.attention.query_sampling import CHECK_EVERY, QuerySampling
from sap_core.attention.recorder import record_attention
from sap_core.attention.row_statistics import LayerStatistics

STRIDE = 4


@dataclass(frozen=True)
class Setting:
    """A model's geometry and the text it is given."""

    layers: int
    heads: int
    width: int
    inner: int
    vocabulary: int
    dtype: str
    length: int
    batch: int
    device: str = "cpu"
    threads: int = 1
    rounds: int = 5


def build(setting: Setting) -> LlamaForCausalLM:
    """The model, with every head its own key, as LLaDA has it."""
    torch.set_num_threads(setting.threads)
    config = LlamaConfig(
        vocab_size=setting.vocabulary,
        hidden_size=setting.width,
        intermediate_size=setting.inner,
        num_hidden_layers=setting.layers,
        num_attention_heads=setting.heads,
        num_key_value_heads=setting.heads,
        max_position_embeddings=max(setting.length, 4096),
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        attn_implementation="sdpa",
    )
    config.is_causal = False
    usual = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, setting.dtype))
    torch.manual_seed(1)
    try:
        with torch.device(setting.device):
            return LlamaForCausalLM(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(usual)


def passes(model: LlamaForCausalLM, setting: Setting) -> dict[str, Callable[[], Any]]:
    """One forward pass each way, over the same tokens, half of them masked.

    plain; captured; sampled and checked: the two kinds of step that a run with sampled queries has, which returns the
    error it measured; eager: full maps, which are then reduced to received attention alone.
    """
    torch.manual_seed(0)
    tokens = torch.randint(0, setting.vocabulary, (setting.batch, setting.length)).to(setting.device)
    masked = (torch.rand(tokens.shape) < 0.5).to(setting.device)

    buffers, sampling = Buffers(), QuerySampling(STRIDE)  # kept from pass to pass, as in a run of many steps

    def all_queries(layer: int, inputs: Attention, queries: Queries) -> LayerStatistics:
        return attention_statistics(inputs, queries.valid, queries.masked, buffers=buffers)

    def captured(reduce: Callable[..., LayerStatistics] = all_queries) -> None:
        with record_attention(model, reduce=reduce) as recorder:
            recorder.masked = masked
            model(input_ids=tokens, use_cache=False)
            recorder.collect()

    def sampled(check: bool) -> dict[str, Any]:
        sampling.check = check
        captured(sampling)
        return sampling.error()

    def eager() -> None:
        model.set_attn_implementation("eager")
        try:
            maps = model(input_ids=tokens, use_cache=False, output_attentions=True).attentions
        finally:
            model.set_attn_implementation("sdpa")
        for layer in maps:
            _reduced(layer, masked)

    return {
        "plain": lambda: model(input_ids=tokens, use_cache=False) and None,
        "captured": captured,
        "sampled": lambda: sampled(check=False),
        "checked": lambda: sampled(check=True),
        "eager": eager,
    }


def mixed(sampled: float, checked: float) -> float:
    """A step of a run with sampled queries on average: one in `CHECK_EVERY` uses all queries as well."""
    return sampled + (checked - sampled) / CHECK_EVERY


def way_of_reducing(model: LlamaForCausalLM, setting: Setting) -> str:
    weight = model.model.layers[0].self_attn.q_proj.weight
    probe = weight[: setting.width // setting.heads, : setting.width // setting.heads][None, None]
    return "fused kernels" if fusable(probe, probe) else "in pieces"


def _reduced(layer: Tensor, masked: Tensor) -> None:
    layer.mean(-2).cpu()
    (layer * masked[:, None, :, None]).mean(-2).cpu()
