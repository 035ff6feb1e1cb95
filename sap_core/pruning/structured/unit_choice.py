"""Choose the units to remove: the lowest of each layer, or of all layers, keeping one of each group of duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import required
from ...models.resizing.units import FIRST_DIFFERS, layer_units, whole_groups
from ..planning.redundant_heads import Group, keep_one

if TYPE_CHECKING:
    from ...models.info import ModelInfo
    from ..planning.plan import PruningPlan


def units_that_go(
    info: ModelInfo, plan: PruningPlan, scores: list[Tensor], groups: Sequence[Group] = ()
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Return (the units removed per layer, the units kept because they are the last of a group).

    For layers: the layers in [0][0]. ``groups``: near-duplicate heads, pattern heads only.
    """
    counts = planned_counts(info, plan)
    if plan.pattern == "experts":
        return lowest_experts(info, scores, counts), []
    if plan.pattern == "layers" and info.native_config.get("model_type") in FIRST_DIFFERS:
        scores = [torch.full_like(scores[0], torch.inf), *scores[1:]]
    gone = lowest_units(scores, counts, plan.pattern)
    if plan.pattern != "heads" or not groups:
        return gone, []
    return keep_one(gone, [layer.tolist() for layer in scores], groups, info.heads // info.kv_heads)


def planned_counts(info: ModelInfo, plan: PruningPlan) -> list[int]:
    """Return how many units of each layer the plan removes; for layers one number."""
    shape = required(plan.left(), "the shape left")
    if plan.pattern == "layers":
        return [info.layers - shape.layers]
    if plan.pattern == "experts":
        before = layer_units(info, "experts")
        return [max(before) - shape.experts if count else 0 for count in before]
    axis = 0 if plan.pattern == "heads" else 1
    left = [sizes[axis] for sizes in shape.per_layer or ((shape.kv_heads, shape.ffn),) * info.layers]
    return [before - after for before, after in zip(layer_units(info, plan.pattern), left, strict=True)]


def lowest_units(scores: list[Float[Tensor, " _"]], counts: list[int], unit: str) -> list[list[int]]:
    """Return the units to remove: the ``counts`` lowest of each layer; for layers the counts[0] lowest, in [0]."""
    if unit == "layers":
        return [torch.cat(scores).argsort(stable=True)[: counts[0]].sort().values.tolist()]
    return [
        layer.argsort(stable=True)[:count].sort().values.tolist() for layer, count in zip(scores, counts, strict=True)
    ]


def lowest_experts(info: ModelInfo, scores: list[Tensor], counts: list[int]) -> list[list[int]]:
    """Return the lowest experts of each layer.

    If the router has groups, which are consecutive, it is as many out of each group, or the whole groups with the
    lowest sums.
    """
    groups, gone = info.native_config.get("n_group") or 1, []
    for layer, count in zip(scores, counts, strict=True):
        if not count:
            gone.append([])
            continue
        numbers = torch.arange(len(layer)).view(groups, -1)
        if whole_groups(info, count):
            order = layer.view(groups, -1).sum(1).argsort(stable=True)[: count // numbers.shape[1]]
            chosen = numbers[order]
        else:
            chosen = numbers.gather(1, layer.view(groups, -1).argsort(dim=1, stable=True)[:, : count // groups])
        gone.append(chosen.flatten().sort().values.tolist())
    return gone


def counts_across_layers(scores: list[Float[Tensor, " _"]], total: int, *, relative: bool) -> list[int]:
    """Return how many units each layer loses if all compete: the ``total`` lowest, at least one kept in every layer.

    ``relative``: scores count as fractions of their layer's mean, since weight scores grow with a layer's activations.
    """
    values = [
        layer / layer.mean().clamp(min=torch.finfo(torch.float32).tiny) if relative else layer for layer in scores
    ]
    entries = sorted((float(value), layer) for layer, units in enumerate(values) for value in units)
    counts = [0] * len(scores)
    for _, layer in entries:
        if sum(counts) == total:
            break
        counts[layer] += counts[layer] < len(scores[layer]) - 1
    return counts
