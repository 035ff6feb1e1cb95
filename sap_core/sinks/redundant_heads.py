"""Groups of heads that attend alike: heads whose received attention changes the same way through a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from ..errors import InvalidInput
from ..trajectory.access import layer_numbers, trajectories_of

STEPS_AT_ONCE = 32  # as many as a chunk of the store holds


def duplicate_heads(source: Any, *, threshold: float = 0.95) -> pd.DataFrame:
    """Group heads such that every head of a group is linked to another by a similarity of at least ``threshold``.

    Similarity of two heads = Pearson correlation of their received attention over all (step, position); over several
    trajectories, over those of all of them together.

    Returns:
        One row per head in a group: group (from 0, the largest first), layer, head, similarity (to the most similar
            head).
    """
    if not 0 < threshold <= 1:
        raise InvalidInput(f"threshold is {threshold:g}; expected a correlation in (0, 1], such as 0.95.")
    datasets = trajectories_of(source)
    heads = datasets[0].sizes["head"]
    similar = similarity(datasets)
    np.fill_diagonal(similar, -1)
    links = similar >= threshold - 1e-9  # rounding must not part two equal heads at threshold 1
    rows = []
    for number, group in enumerate(sorted(_linked(links), key=lambda group: (-len(group), group))):
        for index in group:
            layer_index, head = divmod(index, heads)
            layer = layer_numbers(datasets[0])[layer_index]
            rows.append({"group": number, "layer": layer, "head": head, "similarity": float(similar[index].max())})
    return pd.DataFrame(rows, columns=["group", "layer", "head", "similarity"])


def similarity(datasets: list[xr.Dataset]) -> Float[np.ndarray, "heads heads"]:
    """Return the correlations of all heads, (layers * heads, layers * heads).

    A head that is always 1 / S everywhere has correlation 0 with all others and 1 with itself.
    """
    total: np.ndarray | float = 0.0
    for dataset in datasets:
        for first in range(0, dataset.sizes["step"], STEPS_AT_ONCE):
            part = dataset["received"].isel(step=slice(first, first + STEPS_AT_ONCE)).values.astype(np.float32)
            # Every row sums to 1, so its mean is known and no second pass is needed to centre it.
            rows = np.moveaxis(part, 0, 2).reshape(part.shape[1] * part.shape[2], -1) - 1 / part.shape[-1]
            total = total + (rows @ rows.T).astype(np.float64)
    scale = np.sqrt(np.diag(total))
    moved = scale > 1e-6
    product = np.where(moved[:, None] & moved, total / np.maximum(np.outer(scale, scale), 1e-30), 0)
    np.fill_diagonal(product, 1)
    return np.clip(product, -1, 1)


def _linked(links: np.ndarray) -> list[list[int]]:
    """Return the connected components with more than one member."""
    groups, seen = [], np.zeros(len(links), bool)
    for start in range(len(links)):
        if seen[start]:
            continue
        member = np.zeros(len(links), bool)
        member[start] = True
        while (grown := member | links[member].any(axis=0)).sum() > member.sum():
            member = grown
        seen |= member
        if member.sum() > 1:
            groups.append(np.flatnonzero(member).tolist())
    return groups
