"""Reading trajectories: one or many, and who can see whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ..errors import InvalidInput


def trajectories_of(source: Any) -> list[xr.Dataset]:
    """The trajectories of a run (one per prompt), of a Dataset (itself), or of a list of either, in order.

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


def visibility(trajectory: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How many queries there are at each step, and how many of them can see each key.

    Bidirectional: all Q valid positions see all valid positions. Causal: key j is seen by itself and the queries
    after it, and only the prefix written so far exists.

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
