"""Trajectories whose metrics can be worked out by hand: test data, and examples to draw without a model."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ..errors import UnknownOption
from .store import SCHEMA, VARIABLES

KINDS = ("fixed", "alternating", "drifting", "flat", "mixed")
SINK_SHARE = 0.5  # of every query's attention; the rest is spread evenly over ALL positions, the sink included
MASK = 0


def synthetic_trajectory(
    kind: str = "fixed",
    steps: int = 16,
    layers: int = 2,
    heads: int = 4,
    positions: int = 32,
    *,
    objective: str = "masked_diffusion",
    prompt_length: int | None = None,
) -> xr.Dataset:
    """Return a trajectory whose every head has one sink with received attention ``0.5 + 0.5 / positions``.

    Where the sink is at step t of T, with S positions: ``fixed`` 0; ``alternating`` 0 at even t, S // 2 at odd t;
    ``drifting`` round(t * (S - 1) / (T - 1)); ``flat`` nowhere (1 / S everywhere); ``mixed``: head h has the
    kind h modulo 4 in this order. The canvas fills from left to right behind a prompt (a quarter of it by default).

    ``autoregressive``: position j is written at step j - prompt_length + 1; a sink outside the prefix sits at its last
    position, and the shares are over the prefix. Entropy and distance are those of a map whose rows all equal
    ``received``.

    Raises:
        UnknownOption: no such kind.
    """
    if kind not in KINDS:
        raise UnknownOption("kind of synthetic trajectory", kind, KINDS)
    prompt_length = max(1, positions // 4) if prompt_length is None else prompt_length
    causal = objective == "autoregressive"
    if causal:
        steps = min(steps, positions - prompt_length)
    edges = np.linspace(prompt_length, positions, steps + 1).round().astype(int)
    if causal:
        edges = prompt_length + np.arange(steps + 1)
    position = np.arange(positions)
    masked = position >= edges[:-1, None]
    accepted = masked & (position < edges[1:, None])
    exists = ~masked if causal else np.ones_like(masked)

    received = np.zeros((steps, layers, heads, positions))
    for head in range(heads):
        head_kind = KINDS[head % 4] if kind == "mixed" else kind
        received[:, :, head] = _received(head_kind, exists)[:, None]
    from_masked = np.zeros_like(received) if causal else received * masked.mean(axis=1)[:, None, None, None]
    final = position + 1
    between = np.abs(position[:, None] - position).astype(float)
    spread = exists.astype(float) @ between / exists.sum(axis=1, keepdims=True)  # mean over queries
    arrays = {
        "received": received,
        "received_masked": from_masked,
        "entropy": -(received * np.log(np.where(received > 0, received, 1))).sum(-1),
        "distance": (received * spread[:, None, None]).sum(-1),
        "token": np.where(masked, MASK, final),
        "next_token": np.where(masked & ~accepted, MASK, final),
        "masked": masked,
        "accepted": accepted,
        "confidence": np.where(masked, 0.9, np.nan),
        "valid": np.ones(positions, bool),
        "prompt": position < prompt_length,
    }
    variables = {
        name: (
            variable.dims,
            arrays[name].astype(variable.dtype),
            {"units": variable.units, "long_name": variable.help},
        )
        for name, variable in VARIABLES.items()
    }
    attrs = {
        "schema": SCHEMA,
        "objective": objective,
        "model": f"synthetic:{kind}",
        "prompt_length": prompt_length,
        "mask_token_id": None if causal else MASK,
        "pieces": json.dumps({"0": "<mask>", **{str(token): f"w{token}" for token in final}}),
        "steps_total": steps,
        "steps_written": steps,
    }
    sizes = {"step": steps, "layer": layers, "head": heads, "position": positions}
    return xr.Dataset(variables, coords={dim: np.arange(size) for dim, size in sizes.items()}, attrs=attrs)


def _received(kind: str, exists: np.ndarray) -> np.ndarray:
    """Return the (step, position) attention of one head; ``exists`` says which positions there are at each step."""
    steps, positions = exists.shape
    prefix = exists.sum(axis=1, keepdims=True)
    if kind == "flat":
        return exists / prefix
    time = np.arange(steps)
    sink = {
        "fixed": np.zeros(steps, int),
        "alternating": np.where(time % 2 == 0, 0, positions // 2),
        "drifting": np.rint(time * (positions - 1) / max(steps - 1, 1)).astype(int),
    }[kind]
    received = (1 - SINK_SHARE) * exists / prefix
    received[time, np.minimum(sink, prefix[:, 0] - 1)] += SINK_SHARE
    return received
