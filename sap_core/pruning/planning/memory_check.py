"""Estimate, before a model is loaded, whether it can be pruned in memory or only streamed. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...byte_size import format_bytes
from ...choices.allocations import ALLOCATIONS
from ...choices.methods import METHODS, WEIGHTS
from ...choices.patterns import parse_pattern
from ...errors import InvalidInput
from ...models.memory import available_memory, estimate_memory
from ...specs import PruneSpec

if TYPE_CHECKING:
    from ...models.info import ModelInfo
    from ...specs import PruneOptions


def pruning_memory(info: ModelInfo, dtype: str = "auto", device: str = "auto") -> int:
    """Return the bytes that pruning in memory needs at least: the model's weights and those of the pruned copy.

    float16 counts as float32 on a CPU, which computes in it. Memory for the calibration texts is not included.
    """
    if dtype == "auto" and info.dtype == "float16" and device == "cpu":
        dtype = "float32"
    return 2 * estimate_memory(info, dtype=dtype, length=1)["weights"]


def has_room(info: ModelInfo, dtype: str = "auto", device: str = "auto", held: int = 0) -> bool:
    """Return whether `pruning_memory` is free on ``device``; ``held``: bytes that will be freed before."""
    return pruning_memory(info, dtype, device) < available_memory(device) + held


def check_room(info: ModelInfo, dtype: str = "auto", device: str = "auto", held: int = 0) -> None:
    """Raise InvalidInput, which names streamed pruning as the way out, if there is too little memory."""
    if not has_room(info, dtype, device, held):
        raise InvalidInput(
            f"{info.ref} and its pruned copy need {format_bytes(pruning_memory(info, dtype, device))} but "
            f"{format_bytes(available_memory(device) + held)} are free; prune it from file to file, one block "
            "in memory at a time: sap prune --streamed --out DIR, or sap_core.prune_checkpoint."
        )


def check_streamed(spec: PruneOptions) -> None:
    """Raise InvalidInput, which lists what is supported, for a pruning that needs the whole model at once."""
    if not isinstance(spec, PruneSpec):
        raise InvalidInput(
            f"a {spec.strategy} pruning measures the whole model again and again; streamed pruning takes a sparsity "
            "or an N:M pattern. Leave budget, target_speedup and preset out."
        )
    method, pattern = METHODS[spec.method], parse_pattern(spec.pattern)
    if pattern.unit:
        raise InvalidInput(
            f"pattern {spec.pattern} gives the model another shape, which streamed pruning can't; it supports "
            "unstructured and N:M. Prune in memory instead."
        )
    if method.score == "taylor":
        known = ", ".join(
            name for name, row in METHODS.items() if set(row.patterns) & set(WEIGHTS) and name != "taylor"
        )
        raise InvalidInput(f"method 'taylor' needs gradients of the whole model; streamed pruning supports: {known}.")
    if spec.allocation == "sensitivity":
        known = ", ".join(name for name in ALLOCATIONS if name != "sensitivity")
        raise InvalidInput(
            f"allocation 'sensitivity' measures the whole model once per layer; streamed pruning supports: {known}."
        )
    chooses = METHODS[spec.method].ranks_heads and spec.heads is None
    if spec.run is None and (chooses or spec.allocation == "instability"):
        what = "method 'heads'" if chooses else "allocation 'instability'"
        raise InvalidInput(f"{what} would have to generate with the whole model; give a finished capture run with run.")
