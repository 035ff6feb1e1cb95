"""Whether a model can be pruned in memory, or without all of it there, told before it is loaded. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...choices.allocations import ALLOCATIONS
from ...choices.methods import METHODS, parse_pattern
from ...errors import InvalidInput
from ...models.memory import available_memory, estimate_memory

if TYPE_CHECKING:
    from ...models.info import ModelInfo
    from ...specs import PruneSpec

_GIB = 2**30


def pruning_memory(info: ModelInfo, spec: PruneSpec) -> int:
    """Bytes that pruning in memory takes at least: the model's weights, and those of the copy that is pruned.

    float16 counts as float32 on a CPU, which computes in it. What the calibration texts need comes on top.
    """
    dtype = spec.dtype
    if dtype == "auto" and info.dtype == "float16" and spec.device == "cpu":
        dtype = "float32"
    return 2 * estimate_memory(info, dtype=dtype, length=1)["weights"]


def has_room(info: ModelInfo, spec: PruneSpec, held: int = 0) -> bool:
    """Whether that much is free where the spec wants the model; ``held``: bytes that will be let go before."""
    return pruning_memory(info, spec) < available_memory(spec.device) + held


def check_room(info: ModelInfo, spec: PruneSpec, held: int = 0) -> None:
    """InvalidInput that names the streamed way if there is not."""
    if not has_room(info, spec, held):
        raise InvalidInput(
            f"{info.ref} and its pruned copy need {pruning_memory(info, spec) / _GIB:.1f} GiB but "
            f"{(available_memory(spec.device) + held) / _GIB:.1f} GiB are free; prune it from file to file, one block "
            "in memory at a time: sap prune --streamed --out DIR, or sap_core.prune_checkpoint."
        )


def check_streamed(spec: PruneSpec) -> None:
    """InvalidInput with what is supported, for a pruning that needs the whole model at once."""
    method, pattern = METHODS[spec.method], parse_pattern(spec.pattern)
    if spec.mode != "plain":
        raise InvalidInput(
            f"a {spec.mode} pruning measures the whole model again and again; streamed pruning takes a sparsity or an "
            "N:M pattern. Leave budget, target_speedup and preset out."
        )
    if pattern.unit:
        raise InvalidInput(
            f"pattern {spec.pattern} gives the model another shape, which streamed pruning can't; it supports "
            "unstructured and N:M. Prune in memory instead."
        )
    if method.score == "taylor":
        known = ", ".join(name for name, row in METHODS.items() if row.score not in ("taylor", "flap"))
        raise InvalidInput(f"method 'taylor' needs gradients of the whole model; streamed pruning supports: {known}.")
    if spec.allocation == "sensitivity":
        known = ", ".join(name for name in ALLOCATIONS if name != "sensitivity")
        raise InvalidInput(
            f"allocation 'sensitivity' measures the whole model once per layer; streamed pruning supports: {known}."
        )
    chooses = spec.method == "heads" and spec.heads is None
    if spec.run is None and (chooses or spec.allocation == "instability"):
        what = "method 'heads'" if chooses else "allocation 'instability'"
        raise InvalidInput(f"{what} would have to generate with the whole model; give a finished capture run with run.")
