"""The diffusion transformer of MDLM (arXiv 2406.07524) and BD3-LM (arXiv 2503.09573), under the published tensor names.

A block is x + g1 * attention(norm(x) * (1 + a1) + b1), then the same with a feed-forward; a, b and g are linear in c =
silu(MLP(sinusoids of the noise level)) (adaptive layer norm, arXiv 2212.09748). The published models ignore the noise
level: it is 0 for every input, so c is one constant. Rotary positions; no bias in attention; the norms have a weight
and no bias and are computed in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import MaskedLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward, rotate_half

NOISE_DIMENSIONS = 256  # of the sinusoids
ROTARY_BASE = 10_000.0


class DiTConfig(PreTrainedConfig):
    """The fields of an MDLM or BD3-LM config.json that the computation needs."""

    model_type = "sap_dit"
    attribute_map = {"hidden_size": "hidden_dim", "num_hidden_layers": "n_blocks", "num_attention_heads": "n_heads"}  # noqa: RUF012

    def __init__(
        self,
        vocab_size: int = 50258,
        model_length: int = 1024,
        hidden_dim: int = 768,
        cond_dim: int = 128,
        n_blocks: int = 12,
        n_heads: int = 12,
        mlp_ratio: int = 4,
        adaln: bool = True,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.model_length = model_length
        self.hidden_dim = hidden_dim
        self.cond_dim = cond_dim
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.mlp_ratio = mlp_ratio
        self.adaln = adaln
        super().__init__(**{"tie_word_embeddings": False, **kwargs})


class DiTForMaskedDiffusion(PreTrainedModel):
    """The transformer with its output layer: row i predicts token i."""

    config_class = DiTConfig
    base_model_prefix = "backbone"
    _no_split_modules = ["DiTBlock"]  # noqa: RUF012  as the base class declares it
    _supports_sdpa = True
    _supports_attention_backend = True
    _keys_to_ignore_on_load_unexpected = [r"^sampling_eps_(min|max)$"]  # noqa: RUF012

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        self.backbone = DiTBackbone(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Fill what is not stored; older checkpoints leave the rotary frequencies out."""
        if isinstance(module, Rotary):
            values: Any = module.inv_freq
            values.data.copy_(frequencies(values.shape[0] * 2))

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding, as transformers asks for it."""
        return self.backbone.vocab_embed

    def get_output_embeddings(self) -> nn.Module:
        """Return the output head, as transformers asks for it."""
        return self.backbone.output_layer.linear

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any | None = None,
        use_cache: bool = False,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Return the logits (batch, sequence, vocabulary).

        Args:
            input_ids: (batch, sequence).
            attention_mask: additive (batch, 1, queries, keys), or (batch, keys) of 0 at padding; None sees everything.
            position_ids: (batch, sequence).
            past_key_values: Cache of keys and values.
            use_cache: Ignored; a given cache is always used.
            **kwargs: Ignored.
        """
        cache = past_key_values if use_cache else None
        return MaskedLMOutput(logits=self.backbone(input_ids, attention_mask, position_ids, cache))


class DiTBackbone(nn.Module):
    """Embedding, noise level, blocks and output layer."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.vocab_embed = Embedding(config.vocab_size, config.hidden_dim)
        if config.adaln:
            self.sigma_map = NoiseLevel(config.cond_dim)
        self.rotary_emb = Rotary(config.hidden_dim // config.n_heads)
        self.blocks = nn.ModuleList(DiTBlock(config, index) for index in range(config.n_blocks))
        self.output_layer = OutputLayer(config)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, cache: Any | None
    ) -> Tensor:
        """Return the logits (batch, sequence, vocabulary)."""
        hidden = self.vocab_embed(input_ids)
        if position_ids is None:
            position_ids = torch.arange(hidden.shape[1], device=hidden.device)[None]
        if attention_mask is not None and attention_mask.ndim == 2:
            attention_mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden, attention_mask=attention_mask
            )
        positions = self.rotary_emb(position_ids, hidden.dtype)
        condition = nn.functional.silu(self.sigma_map(hidden)) if self.config.adaln else None
        for block in self.blocks:
            hidden = block(
                hidden,
                attention_mask=attention_mask,
                position_embeddings=positions,
                condition=condition,
                past_key_values=cache,
            )
        return self.output_layer(hidden, condition)


class DiTBlock(nn.Module):
    """Attention and feed-forward, each modulated and gated by the condition."""

    def __init__(self, config: DiTConfig, index: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = index
        self.is_causal = False
        self.num_key_value_groups = 1
        width = config.hidden_dim
        self.heads, self.scaling = config.n_heads, (width // config.n_heads) ** -0.5
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_ratio * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.mlp_ratio * width, width),
        )
        if config.adaln:
            self.adaLN_modulation = nn.Linear(config.cond_dim, 6 * width)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        position_embeddings: tuple[Tensor, Tensor],
        condition: Tensor | None,
        past_key_values: Any | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the hidden states (batch, sequence, width) after this block."""
        seen = (attention_mask, position_embeddings, past_key_values)
        if condition is None:
            hidden_states = hidden_states + self.attend(self.norm1(hidden_states), *seen)
            return hidden_states + self.mlp(self.norm2(hidden_states))
        b1, a1, g1, b2, a2, g2 = self.adaLN_modulation(condition)[:, None].chunk(6, -1)
        inside = self.norm1(hidden_states) * (1 + a1) + b1
        hidden_states = hidden_states + g1 * self.attend(inside, *seen)
        return hidden_states + g2 * self.mlp(self.norm2(hidden_states) * (1 + a2) + b2)

    def attend(self, x: Tensor, mask: Tensor | None, positions: tuple[Tensor, Tensor], cache: Any | None) -> Tensor:
        """Return the attention's output (batch, sequence, width)."""
        shape = x.shape[:-1]
        query, key, value = self.attn_qkv(x).view(*shape, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        cos, sin = positions
        query, key = query * cos + rotate_half(query) * sin, key * cos + rotate_half(key) * sin
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        name = self.config._attn_implementation or "eager"
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        output, _ = attend(self, query, key, value, mask, scaling=self.scaling, dropout=0.0, is_causal=False)
        return self.attn_out(output.reshape(*shape, -1))


class OutputLayer(nn.Module):
    """A modulated norm and the output head."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm_final = Norm(config.hidden_dim)
        self.linear = nn.Linear(config.hidden_dim, config.vocab_size)
        if config.adaln:
            self.adaLN_modulation = nn.Linear(config.cond_dim, 2 * config.hidden_dim)

    def forward(self, hidden: Tensor, condition: Tensor | None) -> Tensor:
        """Return the logits of hidden states."""
        hidden = self.norm_final(hidden)
        if condition is not None:
            shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, -1)
            hidden = hidden * (1 + scale) + shift
        return self.linear(hidden)


class Embedding(nn.Module):
    """Rows of a matrix; the published name of its weight is ``embedding``."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(rows, width))

    @property
    def weight(self) -> Tensor:
        """The embedding matrix, (vocabulary, width)."""
        return self.embedding

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return (batch, sequence, width)."""
        return self.embedding[input_ids]


class NoiseLevel(nn.Module):
    """The embedding of noise level 0: an MLP of its sinusoids, whose cosines are 1 and sines 0; (1, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(NOISE_DIMENSIONS, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, like: Tensor) -> Tensor:
        """Return the embedding of noise level 0, (1, width), in the dtype of ``like``."""
        half = NOISE_DIMENSIONS // 2
        return self.mlp(torch.cat([like.new_ones(1, half), like.new_zeros(1, half)], -1))


class Rotary(nn.Module):
    """cos and sin of the rotary angles, each (batch, 1, sequence, head width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", frequencies(width))

    def forward(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cos and sin of the angles of ``position_ids`` (batch, sequence)."""
        stored: Any = self.inv_freq
        angles = position_ids[..., None].float() * stored.float()
        angles = torch.cat([angles, angles], -1)[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)


class Norm(nn.Module):
    """Layer norm with a weight and no bias, computed in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` normalised over its last dim."""
        return nn.functional.layer_norm(x.float(), self.weight.shape).to(x.dtype) * self.weight


def frequencies(width: int) -> Tensor:
    """Return base^(-2i / width), (width / 2,)."""
    return 1.0 / ROTARY_BASE ** (torch.arange(0, width, 2).float() / width)
