"""Carry out a plan: measure the calibration inputs as the method asks, score, and remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...choices.methods import METHODS
from ...choices.patterns import parse_pattern
from ...errors import OperationFailed, required
from ...models.packing import Quantized
from ...models.resizing.remove_units import remove_units
from ...models.resizing.units import layer_units
from ...progress import Progress, ProgressCallback, silent
from ..planning.redundant_heads import Group
from ..scoring.dense_statistics import dense_statistics, statistic_of
from ..scoring.finite import check_finite
from ..scoring.head_ranking import zero_heads
from ..scoring.inputs import Inputs, calibration_rows, weighted_rows
from ..scoring.masks import lowest
from ..scoring.scores import score
from ..scoring.sparsegpt import UNSTRUCTURED, solve, solve_on_grid
from ..scoring.statistics import block_by_block
from ..structured.compensation import least_squares_update
from ..structured.expert_scores import expert_scores, level_differences
from ..structured.unit_choice import planned_counts, units_that_go
from ..structured.unit_scores import unit_scores
from .layer_scores import LAYER_SCORES, layer_scores

if TYPE_CHECKING:
    import pandas as pd

    from ...models.loaded import LoadedModel
    from ..planning.plan import PlannedMatrix, PruningPlan
    from ..scoring.calibration import Calibration


@dataclass(frozen=True)
class Recipe:
    """How a plan is carried out.

    Attributes:
        inputs: The inputs that are measured on.
        sequential: Whether block by block.
        compensate: The compensation for removed units.
        quantized: What is quantized in the same pass, and gets the scales; None: nothing.
    """

    inputs: Inputs
    sequential: bool = False
    compensate: str = "none"
    quantized: Quantized | None = None


@dataclass(frozen=True)
class Removal:
    """A plan, the models it is carried out on, and everything that takes.

    Attributes:
        dense: The dense model.
        pruned: A copy of it, which is changed.
        plan: What is removed.
        recipe: How.
        calibration: The calibration texts; None if the method needs none.
        progress: Called after every unit of work.
        ranking: For method heads with pattern heads.
        groups: Near-duplicate heads, one of each group of which is kept.
        each: Prunes one block of ``pruned`` given the statistics of its matrices, in place of `prune_block`.
    """

    dense: LoadedModel
    pruned: LoadedModel
    plan: PruningPlan
    recipe: Recipe
    calibration: Calibration | None = None
    progress: ProgressCallback = silent
    ranking: pd.DataFrame | None = None
    groups: Sequence[Group] = ()
    each: Callable[[int, dict[str, Tensor]], None] | None = None

    @property
    def texts(self) -> Calibration:
        """The calibration texts of a method that needs them."""
        return required(self.calibration, "calibration")


def remove(removal: Removal) -> tuple[LoadedModel, dict[str, Any]]:
    """Remove from ``removal.pruned`` what the plan says, by the recipe of its method.

    Returns:
        The result, which is another object than ``removal.pruned`` where whole units were removed, and details for the
        report.
    """
    with removal.dense.calibrating(), removal.pruned.calibrating():
        if removal.plan.shape is not None:
            return _remove_units(removal)
        if METHODS[removal.plan.method].ranks_heads:
            zero_heads(removal.pruned, removal.plan.heads)
        else:
            _prune_blocks(removal)
        return removal.pruned, {}


def _prune_blocks(removal: Removal) -> None:
    """Prune the matrices of one block after the other; sequentially, each on what the pruned ones before it compute."""
    dense, pruned, plan, progress = removal.dense, removal.pruned, removal.plan, removal.progress
    statistic, inputs = METHODS[plan.method].score, removal.recipe.inputs
    joint = removal.recipe.quantized
    each = removal.each or (lambda layer, found: prune_block(pruned, layer, found, plan, inputs.seed, quantized=joint))
    if removal.calibration is not None and removal.recipe.sequential:
        rows = weighted_rows(dense, inputs, removal.calibration, progress)
        block_by_block(pruned, rows, statistic_of(statistic, inputs), each, progress=progress)
        return
    found: dict[str, Tensor] = {}
    if removal.calibration is not None:
        found = dense_statistics(dense, statistic, inputs, removal.calibration, progress)
    for layer in range(len(pruned.blocks)):
        each(layer, found)
        progress(Progress("prune", layer + 1, len(pruned.blocks)))


def _remove_units(removal: Removal) -> tuple[LoadedModel, dict[str, Any]]:
    """Score the units, compensate for those that are removed, and return the smaller model with what was removed."""
    dense, pruned, plan, recipe = removal.dense, removal.pruned, removal.plan, removal.recipe
    means = _means(removal) if recipe.compensate == "bias" or plan.method == "flap" else None
    scores, levels = _scores_of_units(removal)
    gone, saved = units_that_go(dense.info, plan, scores, removal.groups)
    if recipe.compensate == "weights":
        # On the inputs that generation meets, whatever the scores looked at.
        noised = Inputs("noised", "none", recipe.inputs.levels, recipe.inputs.seed)
        rows, _ = calibration_rows(dense, noised, removal.texts)
        least_squares_update(pruned, plan.pattern, gone, rows, removal.progress)
    small = remove_units(pruned, plan.pattern, gone, required(plan.left(), "the shape left"), means)
    before = [dense.info.layers] if plan.pattern == "layers" else layer_units(dense.info, plan.pattern)
    removed = {
        "unit": plan.pattern,
        "of": before[0] if len(set(before)) == 1 else before,
        "per_layer": gone,
        "compensate": "bias" if means else recipe.compensate,
    }
    if levels:
        removed["levels"] = level_differences(levels, planned_counts(dense.info, plan), dense.info)
    if removal.groups:
        removed["duplicates"] = {"groups": len(removal.groups), "kept": [list(unit) for unit in saved]}
    return small, {"removed": removed}


def _means(removal: Removal) -> dict[str, Tensor]:
    """Return the mean input of every matrix, which the bias makes up for (FLAP)."""
    moments = dense_statistics(removal.dense, "flap", Inputs(), removal.texts, removal.progress)
    return {name: both[0] for name, both in moments.items()}


def _scores_of_units(removal: Removal) -> tuple[list[Tensor], dict[str, Any]]:
    """Return the scores of the units, per layer, and of experts those of each noise level."""
    dense, plan, inputs = removal.dense, removal.plan, removal.recipe.inputs
    texts, progress = removal.calibration, removal.progress
    if plan.pattern == "experts":
        return expert_scores(dense, METHODS[plan.method].score, inputs, texts, progress)
    return measured_unit_scores(dense, plan.method, plan.pattern, inputs, texts, removal.ranking, progress), {}


def measured_unit_scores(
    dense: LoadedModel,
    method: str,
    unit: str,
    inputs: Inputs,
    calibration: Calibration | None,
    ranking: pd.DataFrame | None,
    progress: ProgressCallback = silent,
) -> list[Tensor]:
    """Measure what the method needs and return, per layer, the score of every ``unit`` (heads, channels, layers)."""
    known = METHODS[method]
    if known.score in LAYER_SCORES:
        return layer_scores(dense, known.score, inputs, required(calibration, "calibration"), progress)
    result: dict[str, Tensor] = {}
    if known.needs_calibration:
        result = dense_statistics(dense, known.score, inputs, required(calibration, "calibration"), progress)
    return unit_scores(dense, method, unit, result, seed=inputs.seed, ranking=ranking)


def prune_block(
    model: LoadedModel,
    layer: int,
    found: dict[str, Tensor],
    plan: PruningPlan,
    seed: int,
    *,
    spend: bool = False,
    quantized: Quantized | None = None,
) -> None:
    """Remove what ``plan`` says from one block, given the statistic of each of its matrices by name.

    ``spend``: remove each statistic from the dict once it has been used, to free its memory. ``quantized``: put the
    weights that stay on its grid in the same pass (method sparsegpt), those of matrices that lose none included.
    """
    take = found.pop if spend else found.get
    method, pattern = METHODS[plan.method], parse_pattern(plan.pattern)
    planned = {matrix.name: matrix for matrix in plan.matrices if matrix.layer == layer and matrix.zeros}
    for name, module in model.linears(layer).items():
        if quantized is not None:
            share = planned[name].sparsity if name in planned else 0.0
            rule = pattern if name in planned else UNSTRUCTURED
            hessian = required(take(name), "the Hessian")
            moved, scales = solve_on_grid(module.weight.data, hessian, quantized.grid, sparsity=share, pattern=rule)
            module.weight.data.copy_(moved)
            quantized.scales[name] = scales
            continue
        if name not in planned:
            continue
        weight = module.weight.data
        if method.score == "sparsegpt":
            weight.copy_(solve(weight, required(take(name), "the Hessian"), planned[name].sparsity, pattern))
            continue
        scores = score(method.score, weight, take(name, None), seed=seed, matrix=name)
        check_finite(scores, "the score", name)
        weight[lowest(scores, planned[name].zeros, pattern, plan.compare)] = 0
    for name in planned:
        check_carried_out(planned[name], model.module.get_submodule(name).weight)


def check_carried_out(planned: PlannedMatrix, weight: Tensor) -> None:
    """Check a pruned matrix against its plan: at least as many zeros as planned, and no NaN or infinity.

    Raises:
        OperationFailed: fewer zeros, or a weight that is not finite.
    """
    check_finite(weight, "the weight after pruning", planned.name)
    result = weight.numel() - int(weight.count_nonzero())
    if result < planned.zeros:
        raise OperationFailed(
            f"{planned.name} has {result} zeros where the plan says {planned.zeros}: its scores do not order its "
            "weights. Nothing was pruned."
        )
