"""Accuracy of the attention in a stored trajectory, from the attributes of its run."""

from __future__ import annotations

import xarray as xr

from . import quantization

# Largest difference that storing makes, as a share of the largest share of its row; see `PRECISIONS`.
_ROUNDING = {"float32": 0.0, "float16": 2.0**-11, "uint8": quantization.BOUND * (1 + 1 / quantization.MU)}


def rounding(trajectory: xr.Dataset) -> float:
    """Return the largest difference between stored and computed attention, as a fraction of the largest of its row."""
    return _ROUNDING[trajectory.attrs.get("storage", {}).get("precision", "float32")]


def is_sampled(trajectory: xr.Dataset) -> bool:
    """Return whether attention was estimated from every n-th query."""
    return "query_sampling" in trajectory.attrs


def sampling_note(trajectory: xr.Dataset) -> str | None:
    """Return a sentence that attention is an estimate, with the error that the run measured; None if it is exact."""
    if not is_sampled(trajectory):
        return None
    error = trajectory.attrs["query_sampling"]
    steps = error["checked_steps"]
    return (
        f"Attention is estimated from one query in {error['stride']}. Where all queries were used too "
        f"({steps} step{'' if steps == 1 else 's'}), {error['displaced']:.1%} of it was at a wrong position, the "
        f"largest difference of a share was {error['largest']:.2g}, and {error['dominant_agreement']:.0%} of the heads "
        "had the right dominant position."
    )
