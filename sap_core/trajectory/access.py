"""Read trajectories: one or many, the visibility of keys, and slices that read no more than they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from ..errors import InvalidInput

LAYER_NUMBERS = "layer_numbers"  # attribute: the model's own numbers of the layers that attend, in order


def layer_numbers(trajectory: xr.Dataset) -> list[int]:
    """Return the model's own numbers of the recorded layers; those without attention are left out."""
    found = trajectory.attrs.get(LAYER_NUMBERS)
    return list(range(trajectory.sizes["layer"])) if found is None else [int(number) for number in found]


def layer_index(trajectory: xr.Dataset, layer: int) -> int:
    """Return the index at which the layer with the model's number ``layer`` is stored.

    Raises:
        InvalidInput: the run has no such layer.
    """
    numbers = layer_numbers(trajectory)
    if layer in numbers:
        return numbers.index(layer)
    if numbers == list(range(len(numbers))):
        raise InvalidInput(f"layer is {layer}; the run has layers 0 to {numbers[-1]}.")
    if 0 <= layer < int(trajectory.attrs.get("model_layers", 0)):
        raise InvalidInput(f"layer {layer} has no attention; in this model, {_listed(numbers)} have.")
    raise InvalidInput(f"layer is {layer}; the run has {_listed(numbers)}.")


def _listed(numbers: list[int]) -> str:
    return (
        f"layers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}" if len(numbers) > 1 else f"layer {numbers[0]}"
    )


def layers_without_attention(trajectory: xr.Dataset) -> list[int]:
    """Return the numbers of the model's layers that have no attention and are therefore not in the run."""
    numbers = layer_numbers(trajectory)
    return [layer for layer in range(int(trajectory.attrs.get("model_layers", 0))) if layer not in numbers]


def trajectories_of(source: Any) -> list[xr.Dataset]:
    """Return the trajectories of a run (one per prompt), of a Dataset (itself), or of a list of either, in order.

    Raises:
        InvalidInput: none of those, or a trajectory without a step.
    """
    if isinstance(source, xr.Dataset):
        found = [source]
    elif isinstance(source, (list, tuple)):
        found = [dataset for part in source for dataset in trajectories_of(part)]
    elif hasattr(source, "trajectories"):
        found = list(source.trajectories)
    elif hasattr(source, "trajectory"):
        found = [source.trajectory]
    else:
        raise InvalidInput(
            f"A {type(source).__name__} is neither a run nor a trajectory; open a run with open_run(path)."
        )
    if not found or any(dataset.sizes["step"] == 0 for dataset in found):
        raise InvalidInput("The run holds no captured step; capture again.")
    return found


def visibility(trajectory: xr.Dataset) -> tuple[Int[np.ndarray, " step"], Int[np.ndarray, "step position"]]:
    """Return the number of queries at each step, and of those that can see each key.

    Bidirectional: all Q valid positions see all valid positions. Causal: key j is seen by itself and the queries after
    it, and only the prefix written so far exists.

    Returns:
        queries: int (step,); visible: int (step, position), 0 where a position is padding or not written yet.
    """
    valid = trajectory["valid"].values
    if trajectory.attrs.get("objective") != "autoregressive":
        visible = np.broadcast_to(valid * valid.sum(), (trajectory.sizes["step"], valid.size))
        return np.full(trajectory.sizes["step"], valid.sum()), visible
    exists = valid & ~trajectory["masked"].values
    queries = exists.sum(axis=1)
    before = np.cumsum(exists, axis=1) - exists  # existing positions left of j
    return queries, np.where(exists, queries[:, None] - before, 0)


def received_by(
    trajectory: xr.Dataset, layer: int | None = None, head: int | None = None
) -> Float[np.ndarray, "step position"]:
    """Return the attention received, float32 (step, position), of one layer (by the model's number) and head.

    None means the mean over all layers or heads. Means are read where the writer stored them (see `MEANS` in
    `variables`), so that no mean reads the whole array; a trajectory without them is averaged here.
    """
    layer = None if layer is None else layer_index(trajectory, layer)
    if layer is None and head is None and "received_mean" in trajectory:
        return trajectory["received_mean"].values
    if layer is None and head is not None and "received_by_head" in trajectory:
        return trajectory["received_by_head"].isel(head=head).values
    if head is None and layer is not None and "received_by_layer" in trajectory:
        return trajectory["received_by_layer"].isel(layer=layer).values
    received = trajectory["received"]
    received = received if head is None else received.isel(head=head)
    if layer is None:
        total: Any = sum(part.astype(np.float64) for _, part in by_layer(trajectory, head=head))
        mean = total / trajectory.sizes["layer"]
    else:
        mean = received.isel(layer=layer).values
    return (mean if head is not None else mean.mean(axis=1)).astype(np.float32)


def by_layer(
    trajectory: xr.Dataset, name: str = "received", *, head: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (layer, array) of one variable: (step, head, position), or (step, position) of one head.

    Every chunk on disk is read once; as many layers as share a chunk are in memory at a time, or for one head as many
    as have the same size: their chunks are read in parallel.
    """
    variable = trajectory[name] if head is None else trajectory[name].isel(head=head)
    together = int(trajectory.attrs.get("chunk_layers", 1)) * (1 if head is None else trajectory.sizes["head"])
    for first in range(0, trajectory.sizes["layer"], together):
        block = variable.isel(layer=slice(first, first + together)).values
        for offset in range(block.shape[1]):
            yield first + offset, block[:, offset]


def layers_of(
    trajectory: xr.Dataset, layers: Int[np.ndarray, " layer"], head: int | None = None
) -> Float[np.ndarray, "layer step position"]:
    """Return the attention received, float32 (layer, step, position), of some layers.

    Of one head, or the mean over heads.
    """
    if head is None and "received_by_layer" in trajectory:
        return np.moveaxis(trajectory["received_by_layer"].values[:, layers], 1, 0)
    if head is None:
        return np.stack([part.mean(axis=1) for layer, part in by_layer(trajectory) if layer in layers])
    return np.stack([part for layer, part in by_layer(trajectory, head=head) if layer in layers])
