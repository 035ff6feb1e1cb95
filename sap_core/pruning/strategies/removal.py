"""Carries a plan out: looks at the calibration inputs as the method asks, scores, and removes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...choices.methods import AUTO, METHODS, parse_pattern
from ...memoize import remember
from ...models.resizing.remove_units import remove_units
from ...models.resizing.units import layer_units
from ...progress import Progress, ProgressCallback, silent
from ..planning.redundant_heads import Group
from ..scoring.gradients import taylor_scores
from ..scoring.head_ranking import zero_heads
from ..scoring.masks import lowest
from ..scoring.scores import score
from ..scoring.sink_weighting import noised_inputs, persistence
from ..scoring.sparsegpt import solve
from ..scoring.statistics import (
    Gram,
    Moments,
    RootMeanSquare,
    Statistic,
    SumOfNorms,
    TokenRows,
    block_by_block,
    one_shot,
    sink_shares,
)
from ..structured.compensation import refit
from ..structured.unit_choice import units_that_go
from ..structured.unit_scores import unit_scores

if TYPE_CHECKING:
    import pandas as pd

    from ...models.loaded import LoadedModel
    from ...specs import PruneSpec
    from ..planning.plan import PruningPlan
    from ..scoring.calibration import Calibration


_SMALL = 50_000_000  # parameters of a model whose gradients and Gram matrices may stay in memory


def remove(
    dense: LoadedModel,
    pruned: LoadedModel,
    plan: PruningPlan,
    spec: PruneSpec,
    calibration: Calibration | None,
    progress: ProgressCallback = silent,
    ranking: pd.DataFrame | None = None,
    groups: Sequence[Group] = (),
    each: Callable[[int, dict[str, Tensor]], None] | None = None,
) -> tuple[LoadedModel, dict[str, Any]]:
    """Removes from ``pruned``, a copy of ``dense``, what ``plan`` says, by the recipe of its method.

    ``ranking``: for method heads with pattern heads; ``groups``: near-duplicate heads, the last of which stays.
    ``each``: prunes one block of ``pruned`` given the statistics of its matrices, in the place of `prune_block`.
    Returns the result, which is another object than ``pruned`` where whole units were taken out, and what was decided
    on the way, for the report.
    """
    method = METHODS[plan.method]
    if plan.shape is not None:
        return _remove_units(dense, pruned, plan, spec, calibration, progress, ranking, groups)
    if method.score == "heads":
        zero_heads(pruned, plan.heads)
        return pruned, {}
    each = each or (lambda layer, found: prune_block(pruned, layer, found, plan, spec.seed))
    if calibration is not None and is_sequential(spec):
        block_by_block(
            pruned,
            weighted_rows(dense, spec, calibration, progress),
            statistic_of(spec),
            each,
            progress=progress,
        )
        return pruned, {}
    found = dense_statistics(dense, spec, calibration, progress) if calibration is not None else {}
    for layer in range(len(pruned.blocks)):
        each(layer, found)
        progress(Progress("prune", layer + 1, len(pruned.blocks)))
    return pruned, {}


def _remove_units(
    dense: LoadedModel,
    pruned: LoadedModel,
    plan: PruningPlan,
    spec: PruneSpec,
    calibration: Calibration | None,
    progress: ProgressCallback,
    ranking: pd.DataFrame | None,
    groups: Sequence[Group],
) -> tuple[LoadedModel, dict[str, Any]]:
    means = None
    if spec.compensate == "bias" or spec.method == "flap":
        moments = _moments(dense, spec, calibration, progress)
        means = {name: both[0] for name, both in moments.items()}
    scores = measured_unit_scores(dense, spec, calibration, ranking, progress)
    gone, saved = units_that_go(dense.info, plan, scores, groups)
    if spec.compensate == "weights":
        # On the inputs that generation meets, whatever the scores looked at: those of noised_sparsegpt.
        rows, _ = calibration_rows(dense, spec.model_copy(update={"method": "noised_sparsegpt"}), calibration)
        refit(pruned, plan.pattern, gone, rows, progress)
    small = remove_units(pruned, plan.pattern, gone, plan.left(), means)
    before = [dense.info.layers] if plan.pattern == "layers" else layer_units(dense.info, plan.pattern)
    removed = {
        "unit": plan.pattern,
        "of": before[0] if len(set(before)) == 1 else before,
        "per_layer": gone,
        "compensate": "bias" if means else spec.compensate,
    }
    if groups:
        removed["duplicates"] = {"groups": len(groups), "kept": [list(unit) for unit in saved]}
    return small, {"removed": removed}


def measured_unit_scores(
    dense: LoadedModel,
    spec: PruneSpec,
    calibration: Calibration | None,
    ranking: pd.DataFrame | None,
    progress: ProgressCallback = silent,
) -> list[Tensor]:
    """Per layer the score of every unit of the spec's pattern, after looking at what its method looks at."""
    found = dense_statistics(dense, spec, calibration, progress) if METHODS[spec.method].needs_calibration else {}
    return unit_scores(dense, spec.method, spec.pattern, found, seed=spec.seed, ranking=ranking)


def _moments(
    model: LoadedModel, spec: PruneSpec, calibration: Calibration, progress: ProgressCallback
) -> dict[str, Tensor]:
    """Mean and variance of every matrix' inputs on the clean calibration texts."""
    return dense_statistics(model, spec.model_copy(update={"method": "flap"}), calibration, progress)


def dense_statistics(
    model: LoadedModel, spec: PruneSpec, calibration: Calibration, progress: ProgressCallback = silent
) -> dict[str, Tensor]:
    """What the method's formula needs of every matrix, measured on the model as it is, by matrix name.

    It does not depend on how much is pruned, so it is remembered: a slider that moves must not pay for it again. What
    is as large as the weights themselves is remembered for small models only.
    """
    method = METHODS[spec.method]

    def measure() -> dict[str, Tensor]:
        if method.score == "taylor":
            rows, clean = calibration_rows(model, spec, calibration)
            return taylor_scores(model, rows, clean, progress)
        if method.sinks == "each":
            rows, _ = calibration_rows(model, spec, calibration)
            return one_shot(model, rows, statistic_of(spec), sinks=True, progress=progress)
        return one_shot(model, weighted_rows(model, spec, calibration, progress), statistic_of(spec), progress=progress)

    if method.score in ("taylor", "sparsegpt") and model.info.parameters > _SMALL:
        return measure()
    noise = (method.inputs, method.sinks, spec.noise_levels)
    key = ("statistics", method.score, *noise, spec.seed, calibration.describe()["sha256"])
    return remember(model.module, key, measure)


def prune_block(
    model: LoadedModel, layer: int, found: dict[str, Tensor], plan: PruningPlan, seed: int, *, spend: bool = False
) -> None:
    """Removes what ``plan`` says from one block; ``found``: the statistic of each of its matrices by name.

    ``spend``: takes each statistic out of ``found`` when its turn comes, so that it does not outlive its use.
    """
    take = found.pop if spend else found.get
    method, pattern = METHODS[plan.method], parse_pattern(plan.pattern)
    planned = {matrix.name: matrix for matrix in plan.matrices if matrix.layer == layer and matrix.zeros}
    for name, module in model.linears(layer).items():
        if name not in planned:
            continue
        weight = module.weight.data
        if method.score == "sparsegpt":
            weight.copy_(solve(weight, take(name), planned[name].sparsity, pattern))
            continue
        scores = score(method.score, weight, take(name, None), seed=seed, matrix=name)
        weight[lowest(scores, planned[name].zeros, pattern, plan.compare)] = 0


def is_sequential(spec: PruneSpec) -> bool:
    return METHODS[spec.method].sequential if spec.order == AUTO else spec.order == "sequential"


def statistic_of(spec: PruneSpec) -> Statistic:
    method = METHODS[spec.method]
    if method.score == "flap":
        return Moments
    if method.score == "sparsegpt":
        return Gram
    # The published code sums over noised inputs and averages over clean ones.
    return SumOfNorms if method.inputs == "noised" else RootMeanSquare


def calibration_rows(model: LoadedModel, spec: PruneSpec, calibration: Calibration) -> tuple[TokenRows, Tensor]:
    """The rows the method's inputs are, and the same rows unmasked, [N, S] each."""
    tokens = torch.from_numpy(calibration.tokens).to(model.device)
    weights = torch.from_numpy(calibration.valid).to(model.device, torch.float32)
    # An autoregressive model generates from clean text: its inputs have one noise level, none.
    if METHODS[spec.method].inputs == "noised" and model.is_diffusion:
        noised = noised_inputs(tokens, model.info.mask_token_id, spec.seed, spec.noise_levels)
        clean = tokens[:, None].expand(noised.shape).flatten(0, 1)
        weights = weights[:, None].expand(noised.shape).flatten(0, 1)
        return TokenRows(noised.flatten(0, 1), weights), clean
    return TokenRows(tokens, weights), tokens


def weighted_rows(
    model: LoadedModel,
    spec: PruneSpec,
    calibration: Calibration,
    progress: ProgressCallback,
    sink_shares: Callable[[LoadedModel, Tensor, ProgressCallback], Tensor] = sink_shares,
) -> TokenRows:
    """The rows with each token's weight lowered by how much of a sink it is, measured on the dense model.

    ``sink_shares``: how phi [N, S] is found; it is in another way where the model is not in memory.
    """
    method = METHODS[spec.method]
    rows, tokens = calibration_rows(model, spec, calibration)
    if method.sinks == "none":
        return rows
    if method.sinks == "mean":
        noised = tokens[:, None]
        if model.is_diffusion:
            noised = noised_inputs(tokens, model.info.mask_token_id, spec.seed, spec.noise_levels)
        share = sink_shares(model, noised.flatten(0, 1), progress).view(noised.shape).mean(1)
        return TokenRows(tokens, rows.weights * (1 - share))
    share = sink_shares(model, rows.tokens, progress)
    if method.sinks == "lasting":
        levels = share.view(len(calibration.tokens), -1, share.shape[-1])
        share = (levels * (1 - persistence(levels))[:, None]).flatten(0, 1)
    return TokenRows(rows.tokens, rows.weights * (1 - share))
