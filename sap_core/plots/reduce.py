"""Make a large array small enough to send to a browser without hiding what matters."""

from __future__ import annotations

import numpy as np

from .theme import SHARE_RANGE

MAX_ROWS = 256
MAX_COLUMNS = 512


def reduce_max(values: np.ndarray, rows: int = MAX_ROWS, columns: int = MAX_COLUMNS) -> tuple[np.ndarray, int, int]:
    """``values`` [R, C] with blocks of cells replaced by their maximum, and the block's height and width.

    A mean would hide a sink that is one position wide; a maximum keeps it. NaN counts as absent.
    """
    height, width = -(-values.shape[0] // rows), -(-values.shape[1] // columns)
    if height == width == 1:
        return values, 1, 1
    padded_rows, padded_columns = -values.shape[0] % height, -values.shape[1] % width
    filled = np.where(np.isnan(values), -np.inf, values) if values.dtype.kind == "f" else values
    fill = -np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).min if values.dtype.kind in "iu" else False
    padded = np.pad(filled, ((0, padded_rows), (0, padded_columns)), constant_values=fill)
    blocks = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width)
    reduced = blocks.max(axis=(1, 3))
    if values.dtype.kind == "f":
        reduced = np.where(np.isneginf(reduced), np.nan, reduced).astype(values.dtype)
    return reduced, height, width


def share_levels(times_even: np.ndarray) -> np.ndarray:
    """Attention in multiples of an even share [..] -> uint8 on the fixed logarithmic scale: 1 at and below the lower
    end of `SHARE_RANGE`, 255 at and above the upper, 0 where the value is NaN (the position did not exist yet)."""
    low, high = SHARE_RANGE
    with np.errstate(divide="ignore", invalid="ignore"):
        position = (np.log2(times_even) - low) / (high - low)
    position = np.nan_to_num(np.clip(position, 0, 1), nan=0.0)
    return np.where(np.isnan(times_even), 0, 1 + np.round(position * 254)).astype(np.uint8)


def level_of(log2_value: float) -> float:
    """Where a value of the logarithmic scale falls among the levels of `share_levels`."""
    low, high = SHARE_RANGE
    return 1 + 254 * (log2_value - low) / (high - low)
