"""The decoder that LLaDA, Dream, SDAR and A2D publish, written out once in plain torch: what parity is held against.

RMS norms before attention and feed-forward, rotary positions on halves, grouped keys, SwiGLU; with biases, norms of
queries and keys, and routed experts where the tensors have them. No transformers, no attention kernel.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

# LLaDA's own names, inner before outer: the head and a block's last matrix are both called ff_out.
LLADA = (
    ("model.transformer.blocks.", "model.layers."),
    ("model.transformer.wte.", "model.embed_tokens."),
    ("model.transformer.ln_f.", "model.norm."),
    ("model.transformer.ff_out.", "lm_head."),
    ("attn_norm.", "input_layernorm."),
    ("ff_norm.", "post_attention_layernorm."),
    ("attn_out.", "o_proj."),
    ("ff_proj.", "gate_proj."),
    ("ff_out.", "down_proj."),
)


class PlainDecoder:
    """Reads a published folder by its own names; ``block`` tokens see their block and those before it, None all."""

    def __init__(self, folder: Path, block: int | None = None) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = {}
        for key, value in load_file(folder / "model.safetensors").items():
            for old, new in LLADA:
                key = key.replace(old, new)
            self.tensors[re.sub(r"(self_attn|mlp)\.(?!\d)", "", key)] = value.double()
        self.block = block

    def __call__(self, ids: Tensor) -> Tensor:
        """(batch, sequence) -> float64 (batch, sequence, vocabulary)."""
        x = self.tensors["model.embed_tokens.weight"][ids]
        where = torch.arange(ids.shape[1]) // (self.block or ids.shape[1])
        seen = where <= where[:, None]
        for layer in range(self.field("num_hidden_layers", "n_layers")):
            self.at = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, f"{self.at}input_layernorm"), seen)
            x = x + self.feed_forward(self.norm(x, f"{self.at}post_attention_layernorm"))
        return self.norm(x, "model.norm") @ self.tensors["lm_head.weight"].T

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (batch, sequence, head, width), keys and values, of which several heads may share one."""
        heads = self.field("num_attention_heads", "n_heads")
        q, k, v = (self.linear(x, f"{name}_proj") for name in "qkv")
        width = q.shape[-1] // heads
        q, k, v = (part.unflatten(-1, (-1, width)) for part in (q, k, v))
        if f"{self.at}q_norm.weight" in self.tensors:
            q, k = self.norm(q, f"{self.at}q_norm"), self.norm(k, f"{self.at}k_norm")
        return self.turned(q), self.turned(k), v

    def attention(self, x: Tensor, seen: Tensor) -> Tensor:
        q, k, v = self.projected(x)
        k, v = (part.repeat_interleave(q.shape[2] // part.shape[2], 2) for part in (k, v))
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5
        rows = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        return self.linear(torch.einsum("bhij,bjhd->bihd", rows, v).flatten(2), "o_proj")

    def turned(self, x: Tensor) -> Tensor:
        """Rotary positions: the two halves of a head are the coordinates of one plane each."""
        half = x.shape[-1] // 2
        base = self.field("rope_theta") or (self.config.get("rope_parameters") or {}).get("rope_theta", 10000.0)
        angles = torch.arange(x.shape[1])[:, None] * base ** (-torch.arange(half, dtype=torch.float64) / half)
        sin, cos = angles.sin()[:, None], angles.cos()[:, None]
        left, right = x[..., :half], x[..., half:]
        return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)

    def feed_forward(self, x: Tensor) -> Tensor:
        if f"{self.at}gate.weight" not in self.tensors:
            return self.swiglu(x, "")
        shares = self.linear(x, "gate").softmax(-1)
        best = shares.topk(self.config["num_experts_per_tok"], -1)
        weights = best.values / (best.values.sum(-1, keepdim=True) if self.config.get("norm_topk_prob") else 1)
        each = torch.stack([self.swiglu(x, f"experts.{i}.") for i in range(shares.shape[-1])], 2)
        return (each.gather(2, best.indices[..., None].expand(-1, -1, -1, x.shape[-1])) * weights[..., None]).sum(2)

    def swiglu(self, x: Tensor, inside: str) -> Tensor:
        gate, up = (self.linear(x, f"{inside}{name}_proj") for name in ("gate", "up"))
        return self.linear(F.silu(gate) * up, f"{inside}down_proj")

    def linear(self, x: Tensor, name: str) -> Tensor:
        bias = self.tensors.get(f"{self.at}{name}.bias")
        return F.linear(x, self.tensors[f"{self.at}{name}.weight"], bias)

    def norm(self, x: Tensor, name: str) -> Tensor:
        root = (x.square().mean(-1, keepdim=True) + (self.field("rms_norm_eps") or 1e-5)).sqrt()
        return x / root * self.tensors[f"{name}.weight"]

    def field(self, *names: str):
        return next((self.config[name] for name in names if self.config.get(name) is not None), None)
