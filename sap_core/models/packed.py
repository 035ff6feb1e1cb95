"""Checkpoints whose matrices are stored as packed whole numbers: their grid, config entry and tensor names. No torch.

The format is pack-quantized of compressed-tensors, which transformers, vLLM and SGLang load: per matrix
``weight_packed`` (int32, several numbers in each), ``weight_scale`` (one per group of inputs) and ``weight_shape``.
Only symmetric grids without zero points are read here; they store a pruned weight as an exact zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ModelProblem
from .family import Config
from .headers import StoredTensor

PACKED, SCALE, SHAPE = PARTS = ("weight_packed", "weight_scale", "weight_shape")
BITS = {"int8": 8, "int4": 4}
GROUPS = (128, 64, 32)
_WORD = 32


@dataclass(frozen=True)
class Grid:
    """The numbers that a quantized weight can be: a scale times a whole number of ``bits`` bits.

    Attributes:
        bits: 4 or 8.
        group: Consecutive inputs of an output that share a scale; 0: all of them.
    """

    bits: int
    group: int

    @property
    def lowest(self) -> int:
        """The smallest whole number; the largest is one less than its magnitude."""
        return -(2 ** (self.bits - 1))

    @property
    def in_word(self) -> int:
        """Numbers in one int32."""
        return _WORD // self.bits

    def words(self) -> str:
        """Return the grid in words."""
        return f"int{self.bits}, " + (f"groups of {self.group} inputs" if self.group else "one scale per output")


def grid_for(bits: int, widths: Iterable[int]) -> Grid:
    """Return the grid with the largest groups that divide all widths, of 128, 64 and 32; else a scale per output."""
    found = tuple(widths)
    return Grid(bits, next((group for group in GROUPS if all(width % group == 0 for width in found)), 0))


def entry_of(grid: Grid, left_out: Iterable[str]) -> dict[str, Any]:
    """Return ``quantization_config`` for config.json; ``left_out``: linear layers that are not quantized."""
    weights: dict[str, Any] = {"num_bits": grid.bits, "type": "int", "symmetric": True, "dynamic": False}
    weights |= {"strategy": "group", "group_size": grid.group} if grid.group else {"strategy": "channel"}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": sorted(left_out),
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


def grid_of(config: Config) -> Grid | None:
    """Return the grid of a checkpoint that this package can unpack; None for any other, quantized or not."""
    entry = config.get("quantization_config")
    if not isinstance(entry, dict) or entry.get("format") != "pack-quantized":
        return None
    groups = entry.get("config_groups")
    if not isinstance(groups, dict) or len(groups) != 1:
        return None
    (only,) = groups.values()
    weights = only.get("weights") if isinstance(only, dict) else None
    if not isinstance(weights, dict) or only.get("input_activations") or only.get("output_activations"):
        return None
    whole = weights.get("type") == "int" and weights.get("symmetric") is True and not weights.get("actorder")
    bits, strategy = weights.get("num_bits"), weights.get("strategy")
    group = weights.get("group_size") if strategy == "group" else 0 if strategy == "channel" else None
    if (
        not whole
        or type(bits) is not int
        or bits not in BITS.values()
        or type(group) is not int
        or not 0 <= group <= 1 << 20
    ):
        return None
    return Grid(bits, group)


def unpacked(tensors: tuple[StoredTensor, ...], grid: Grid | None, where: str) -> tuple[StoredTensor, ...]:
    """Return stored tensors with one "weight" in place of the parts of every packed matrix.

    Raises:
        ModelProblem: a packed matrix without its scales, or scales that do not fit it.
    """
    if grid is None:
        return tensors
    known = {tensor.key: tensor for tensor in tensors}
    result = []
    for tensor in tensors:
        base, _, part = tensor.key.rpartition(".")
        if part in (SCALE, SHAPE) and f"{base}.{PACKED}" in known:
            continue
        if part != PACKED:
            result.append(tensor)
            continue
        scale = known.get(f"{base}.{SCALE}")
        fits = scale is not None and len(tensor.shape) == len(scale.shape) == 2 and tensor.dtype == "int32"
        if not fits or scale is None:
            raise ModelProblem(f"{where}: {tensor.key} has no scales that fit it; download it again.")
        rows, cols = tensor.shape[0], tensor.shape[1] * grid.in_word
        groups = cols // grid.group if grid.group else 1
        if scale.shape != (rows, groups) or (grid.group and cols % grid.group):
            raise ModelProblem(
                f"{where}: {scale.key} has shape {list(scale.shape)} where {[rows, groups]} is expected for "
                f"{tensor.key}; config.json and weights are not of one model."
            )
        result.append(replace(tensor, key=f"{base}.weight", shape=(rows, cols), dtype=scale.dtype, start=None))
    return tuple(result)
