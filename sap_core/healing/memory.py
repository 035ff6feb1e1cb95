"""Estimate, before models are loaded, whether one can be healed in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..byte_size import format_bytes
from ..errors import InvalidInput
from ..models.memory import available_memory, estimate_memory

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..specs import HealSpec

_PER_WEIGHT = 4 + 4 + 8  # a trained value in float32, its gradient, and two moments of the optimizer


def healing_memory(pruned: ModelInfo, teacher: ModelInfo, spec: HealSpec) -> int:
    """Return the bytes that healing needs at least: both models, a copy that learns, and what training holds.

    Activations are not included.
    """
    inside = sum(matrix.rows * matrix.cols for matrix in pruned.matrices)
    low_rank = sum(spec.rank * (matrix.rows + matrix.cols) for matrix in pruned.matrices)
    learning = {"weights": inside, "lora": low_rank, "norms": 0}[spec.train]
    models = [estimate_memory(info, dtype=spec.dtype, length=1)["weights"] for info in (pruned, pruned, teacher)]
    return sum(models) + _PER_WEIGHT * learning


def check_room(pruned: ModelInfo, teacher: ModelInfo, spec: HealSpec, loaded: list[bool]) -> None:
    """Raise InvalidInput if there is too little memory; ``loaded``: which of the two models is in memory already."""
    held = sum(info.bytes for info, there in zip((pruned, teacher), loaded, strict=True) if there)
    needed, free = healing_memory(pruned, teacher, spec), available_memory(spec.device) + held
    if needed > free:
        less = " Choose train lora or norms, which take less." if spec.train == "weights" else ""
        raise InvalidInput(
            f"healing {pruned.ref} needs at least {format_bytes(needed)} but {format_bytes(free)} are free.{less}"
        )
