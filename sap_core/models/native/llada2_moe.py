"""LLaDA2.x: a mixture of experts that denoises blocks of tokens, each block attending to itself and those before it.

Written from the published configuration and the description in arXiv 2512.15745. Tensor names are the published ones.

- Attention: one fused projection (queries, then keys, then values), RMS norm of each head's queries and keys, rotary
  positions on the first ``head_dim * partial_rotary_factor`` dimensions of a head, grouped queries.
- Routing: s = sigmoid(router(x)) in float32; experts are ranked by s + bias. They are in ``n_group`` groups; a group's
  score is the sum of its two best, the best ``topk_group`` groups are kept, and the best ``num_experts_per_tok``
  experts in them are chosen. Their weights are s without the bias, over their sum (if more than one), times
  ``routed_scaling_factor``.
- One shared expert for every token; the first ``first_k_dense_replace`` layers have a plain feed-forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward, rotate_half

from ..experts import Expert, Experts
from .llada2_config import LLaDA2MoeConfig


class LLaDA2MoeModelLM(PreTrainedModel):
    """LLaDA2.x with its output head: row i predicts token i."""

    config_class = LLaDA2MoeConfig
    base_model_prefix = "model"
    _no_split_modules = ["LLaDA2Block"]  # noqa: RUF012  as the base class declares it
    _supports_sdpa = True
    _supports_attention_backend = True
    _tied_weights_keys = {"lm_head.weight": "model.word_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: LLaDA2MoeConfig) -> None:
        super().__init__(config)
        self.model = LLaDA2Body(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding, as transformers asks for it."""
        return self.model.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        body: Any = self.model
        body.word_embeddings = value

    def get_output_embeddings(self) -> nn.Module:
        """Return the output head, as transformers asks for it."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the output head."""
        self.lm_head = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return the logits (batch, sequence, vocabulary).

        Args:
            input_ids: (batch, sequence).
            attention_mask: additive (batch, 1, queries, keys), or (batch, keys) of 0 at padding; None sees everything.
            position_ids: (batch, sequence).
            past_key_values: Cache of keys and values.
            inputs_embeds: (batch, sequence, width), in place of ``input_ids``.
            use_cache: Whether to return a cache.
            **kwargs: Passed to the attention function.
        """
        body = self.model(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache)
        logits = self.lm_head(body.last_hidden_state)
        return CausalLMOutputWithPast(logits=logits, past_key_values=body.past_key_values)


class LLaDA2Body(nn.Module):
    """Embedding, blocks and last norm."""

    def __init__(self, config: LLaDA2MoeConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LLaDA2Block(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        past_key_values: Any | None,
        inputs_embeds: Tensor | None,
        use_cache: bool,
    ) -> BaseModelOutputWithPast:
        """Return the last hidden states (batch, sequence, width), and the cache."""
        hidden = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(seen, seen + hidden.shape[1], device=hidden.device)[None]
        if attention_mask is not None and attention_mask.ndim == 2:
            attention_mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden, attention_mask=attention_mask
            )
        positions = rotary(self.config, position_ids, hidden)
        for layer in self.layers:
            hidden = layer(
                hidden,
                attention_mask=attention_mask,
                position_embeddings=positions,
                past_key_values=past_key_values if use_cache else None,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=past_key_values)


class LLaDA2Block(nn.Module):
    """One block: attention, then a feed-forward or a mixture of experts, each behind a norm and added."""

    def __init__(self, config: LLaDA2MoeConfig, index: int) -> None:
        super().__init__()
        self.attention = LLaDA2Attention(config, index)
        dense = index < config.first_k_dense_replace
        self.mlp = feed_forward(config, config.intermediate_size) if dense else LLaDA2Mixture(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        """Return the hidden states (batch, sequence, width) after this block."""
        hidden_states = hidden_states + self.attention(self.input_layernorm(hidden_states), **kwargs)
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class LLaDA2Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys and partly rotary positions."""

    def __init__(self, config: LLaDA2MoeConfig, index: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = index
        self.is_causal = False
        self.head_dim = config.head_dim
        self.sizes = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_dim**-0.5
        width = sum(self.sizes) * config.head_dim
        self.query_key_value = nn.Linear(config.hidden_size, width, bias=config.use_qkv_bias)
        self.dense = nn.Linear(self.sizes[0] * config.head_dim, config.hidden_size, bias=config.use_bias)
        if config.use_qk_norm:
            self.query_layernorm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.key_layernorm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        position_embeddings: tuple[Tensor, Tensor],
        past_key_values: Any | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the attention's output (batch, sequence, width)."""
        shape = hidden_states.shape[:-1]
        mixed = self.query_key_value(hidden_states).view(*shape, sum(self.sizes), self.head_dim)
        query, key, value = (part.transpose(1, 2) for part in mixed.split(self.sizes, dim=-2))
        if self.config.use_qk_norm:
            query, key = self.query_layernorm(query), self.key_layernorm(key)
        query, key = rotate(query, *position_embeddings), rotate(key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        name = self.config._attn_implementation or "eager"
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        output, _ = attend(self, query, key, value, attention_mask, scaling=self.scaling, dropout=0.0, is_causal=False)
        return self.dense(output.reshape(*shape, -1))


class LLaDA2Mixture(nn.Module):
    """The routed experts of each token, and the shared one."""

    def __init__(self, config: LLaDA2MoeConfig) -> None:
        super().__init__()
        size = config.moe_intermediate_size
        self.gate = LLaDA2Router(config)
        self.experts = Experts(feed_forward(config, size) for _ in range(config.num_experts))
        if config.num_shared_experts:
            self.shared_experts = feed_forward(config, size * config.num_shared_experts)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return the mixture's output (batch, sequence, width)."""
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        chosen, weights = self.gate(flat)
        mixed = self.experts(flat, chosen, weights).view(hidden_states.shape)
        return mixed + self.shared_experts(hidden_states) if hasattr(self, "shared_experts") else mixed


class LLaDA2Router(nn.Module):
    """Chooses experts; (tokens, width) -> indices and weights, both (tokens, experts per token)."""

    def __init__(self, config: LLaDA2MoeConfig) -> None:
        super().__init__()
        self.top_k, self.groups, self.top_groups = config.num_experts_per_tok, config.n_group, config.topk_group
        self.scale = config.routed_scaling_factor
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))
        self.register_buffer("expert_bias", torch.zeros(config.num_experts))

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return indices and weights of the chosen experts of (tokens, width)."""
        scores = torch.sigmoid(nn.functional.linear(hidden_states.float(), self.weight.float()))
        bias: Any = self.expert_bias
        ranked = scores + bias
        grouped = ranked.view(len(ranked), self.groups, -1)
        best = grouped.topk(min(2, grouped.shape[-1]), -1).values.sum(-1)
        stays = torch.zeros_like(best, dtype=torch.bool).scatter_(1, best.topk(self.top_groups, -1).indices, True)
        chosen = grouped.masked_fill(~stays[..., None], -torch.inf).flatten(1).topk(self.top_k, -1).indices
        weights = scores.gather(1, chosen)
        if self.top_k > 1:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return chosen, weights * self.scale


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` normalised over its last dim."""
        exact = x.float()
        return self.weight * (exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def feed_forward(config: LLaDA2MoeConfig, size: int) -> Expert:
    """Return a gated feed-forward of ``size`` channels, as an `Expert`."""
    gate, up, down = (torch.empty(shape) for shape in 2 * [(size, config.hidden_size)] + [(config.hidden_size, size)])
    return Expert(gate, up, down, ACT2FN[config.hidden_act])


def rotary(config: LLaDA2MoeConfig, position_ids: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the rotary angles, each (batch, 1, sequence, rotary dimensions)."""
    steps = torch.arange(0, config.rotary_dim, 2, dtype=torch.int64, device=like.device).float()
    frequencies = 1.0 / config.rotary_theta ** (steps / config.rotary_dim)
    angles = position_ids[..., None].float() * frequencies
    angles = torch.cat([angles, angles], -1)[:, None]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first dimensions of (batch, head, sequence, width); the others are unchanged."""
    turned, kept = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    return torch.cat([turned * cos + rotate_half(turned) * sin, kept], -1)
