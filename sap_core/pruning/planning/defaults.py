"""What is done where no method is named: the combination that measured best (`benchmarks/curves.py --best`; README).

The doors fill it in before there is a spec, because a spec says what was done and the choice depends on the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...choices.methods import parse_pattern
from ...choices.strategies import mode_of
from ...models.family import MASKED_DIFFUSION

if TYPE_CHECKING:
    from ...models.info import ModelInfo


def best_recipe(info: ModelInfo, pattern: str, mode: str = "plain") -> dict[str, Any]:
    """Fields of `PruneSpec`: method, and where they measured best allocation and compensate.

    ``mode``: of `PruneSpec.mode`, for a budget or a search decides itself how much goes where.
    """
    masked = info.objective == MASKED_DIFFUSION
    parsed = parse_pattern(pattern)
    if mode == "search" or parsed.unit:
        units = {"method": "sink" if masked else "wanda"}
        moved = mode == "plain" and parsed.unit in ("heads", "channels")
        return units | {"compensate": "weights"} if moved else units
    method = {"method": "noised_sparsegpt" if masked else "sparsegpt"}
    return method | {"allocation": "owl"} if mode == "plain" and not parsed.structured else method


def with_method(fields: dict[str, Any], info: ModelInfo | None = None) -> dict[str, Any]:
    """``fields`` of a `PruneSpec` with the best recipe in the place of what they leave out; as they are where they name
    a method. ``info``: of the model, read from its headers where it is not given.

    Raises:
        InvalidInput: no model of that name; no such pattern.
    """
    if fields.get("method") is not None:
        return fields
    if info is None:
        from ...models.inspection import inspect_model

        info = inspect_model(fields["model"], mask_token_id=fields.get("mask_token_id"))
    given = {name: value for name, value in fields.items() if value is not None}
    mode = mode_of(**{name: given.get(name) for name in ("budget", "preset", "target_speedup")})
    return best_recipe(info, given.get("pattern", "unstructured"), mode) | given
