"""Reduce a large array to a size that a browser can show, keeping its maxima."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from .theme import SHARE_RANGE

MAX_ROWS = 256
MAX_COLUMNS = 512


def reduce_max(
    values: Shaped[np.ndarray, "row column"], rows: int = MAX_ROWS, columns: int = MAX_COLUMNS
) -> tuple[Shaped[np.ndarray, "row_block column_block"], int, int]:
    """Return ``values`` [R, C] with blocks of cells replaced by their maximum, and the block's height and width.

    A mean would hide a sink that is one position wide; a maximum keeps it. NaN counts as absent.
    """
    height, width = -(-values.shape[0] // rows), -(-values.shape[1] // columns)
    if height == width == 1:
        return values, 1, 1
    # fmax is NaN only where both are; block by block of whole rows it is 13 times as fast as over a reshaped array.
    tall = np.stack([np.fmax.reduce(values[row : row + height]) for row in range(0, len(values), height)])
    return np.fmax.reduceat(tall, np.arange(0, values.shape[1], width), axis=1), height, width


def share_levels(times_even: Float[np.ndarray, "*rows position"]) -> UInt8[np.ndarray, "*rows position"]:
    """Return attention in multiples of an even share [..] as uint8 on the fixed logarithmic scale.

    1 at and below the lower end of `SHARE_RANGE`, 255 at and above the upper, 0 where the value is NaN (the position
    did not exist yet).
    """
    low, high = SHARE_RANGE
    with np.errstate(divide="ignore", invalid="ignore"):
        position = (np.log2(times_even) - low) / (high - low)
    position = np.nan_to_num(np.clip(position, 0, 1), nan=0.0)
    return np.where(np.isnan(times_even), 0, 1 + np.round(position * 254)).astype(np.uint8)


def level_of(log2_value: float) -> float:
    """Return the level of `share_levels` of a value on the logarithmic scale."""
    low, high = SHARE_RANGE
    return 1 + 254 * (log2_value - low) / (high - low)
