"""Attention in fewer bits: float16, and 8 bits that keep a row's maximum, its position and the tail.

A row (the attention one head gives at one step, S positions) is stored as its maximum m in float32 and one byte per
position. The byte is mu-law companding of v / m (Smith, "Instantaneous companding of quantized signals", 1957; ITU-T
G.711 with mu = 255): u = ln(1 + MU v / m) / ln(1 + MU), logarithmic where v is large, linear through 0 where it is
small. Byte 255 is kept for the first position that has the maximum, which is therefore exact and remains the only one;
0 to 254 are 254 u rounded to the nearest.

Error of a value v after decoding: at most BOUND * (v + m / MU), that is 2.21 % of itself for all values that matter,
and below a 65,536th of the row's maximum at most that much of the difference to 0. A zero remains exactly zero. Half a
step is h = ln(1 + MU) / 508 of the logarithm, and the worst case is exp(h) - 1 above the true value.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped, UInt8

MU = 65536.0
LEVELS = 254  # codes 0..254 carry u; 255 marks the maximum
BOUND = float(np.expm1(np.log1p(MU) / (2 * LEVELS)))  # 0.0221
PART_LEVELS = 255
PART_BOUND = 0.5 / PART_LEVELS  # of the whole, 0.002
SMALLEST_NORMAL = np.float32(2.0**-14)  # of float16; below it a half is a whole number of 2^-24


def to_half(values: Float[np.ndarray, "*row position"]) -> Float[np.ndarray, "*row position"]:
    """Return ``values.astype(float16)`` of non-negative float32, bit for bit, but faster.

    numpy takes 30 times as long for a number that becomes a subnormal half, as most attention of a long text does.
    """
    small = values < SMALLEST_NORMAL
    halves = np.where(small, 0, values).astype(np.float16).view(np.uint16)
    return np.where(small, np.rint(np.where(small, values, 0) * np.float32(2.0**24)).astype(np.uint16), halves).view(
        np.float16
    )


def from_half(halves: Float[np.ndarray, "*row position"]) -> Float[np.ndarray, "*row position"]:
    """Return ``halves.astype(float32)``, bit for bit, from a table of all 65,536 values, which is twice as fast."""
    return _OF_HALF[halves.view(np.uint16)]


def encode_rows(
    values: Float[np.ndarray, "*row position"],
) -> tuple[UInt8[np.ndarray, "*row position"], Shaped[np.ndarray, " *row"]]:
    """Encode non-negative float32 (..., S) as codes uint8 (..., S) and the rows' maxima float32 (...).

    A row that holds a NaN is stored as all NaN.
    """
    values = np.asarray(values, np.float32)
    top = values.max(axis=-1)
    safe = np.where(top > 0, top, 1)[..., None]
    with np.errstate(invalid="ignore"):
        level = np.log(1 + np.float32(MU) * (values / safe))
        level *= np.float32(LEVELS / np.log1p(MU))
        codes = np.rint(level, out=level).astype(np.uint8)
    np.put_along_axis(codes, values.argmax(axis=-1)[..., None], np.where(top > 0, 255, 0)[..., None], axis=-1)
    return codes, top


def decode_rows(
    codes: UInt8[np.ndarray, "*row position"], top: Shaped[np.ndarray, " *row"]
) -> Float[np.ndarray, "*row position"]:
    """Return the attention float32 (..., S) of codes (..., S) and maxima (...)."""
    return _TABLE[codes] * np.asarray(top, np.float32)[..., None]


def encode_part(
    part: Float[np.ndarray, "*row position"], whole: Float[np.ndarray, "*row position"]
) -> UInt8[np.ndarray, "*row position"]:
    """Encode ``part`` of ``whole``, 0 <= part <= whole, as uint8: 255 part / whole, rounded; 0 where the whole is 0.

    Decoded against the true whole, the error is at most PART_BOUND of the whole; a part that is 0 or the whole is
    exact.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(whole > 0, part / whole, 0)
        return np.rint(np.clip(share, 0, 1) * PART_LEVELS).astype(np.uint8)


def decode_part(
    codes: UInt8[np.ndarray, "*row position"], whole: Float[np.ndarray, "*row position"]
) -> Float[np.ndarray, "*row position"]:
    """Return the part, float32, of a decoded whole."""
    return whole * (codes.astype(np.float32) / PART_LEVELS)


def _table() -> np.ndarray:
    level = np.arange(256, dtype=np.float64)
    level[LEVELS] -= 0.25  # the middle of its half cell: below the maximum, so that the maximum stays alone
    table = np.expm1(level / LEVELS * np.log1p(MU)) / MU
    table[255] = 1
    return table.astype(np.float32)


_TABLE = _table()
_OF_HALF = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
