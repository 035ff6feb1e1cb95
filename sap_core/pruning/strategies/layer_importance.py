"""One measured value per layer, for allocations that follow a measurement; higher means the layer should keep more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ...choices.methods import METHODS
from ...evaluation.likelihood import text_likelihood
from ...models.resizing.remove_units import zero_units
from ...models.resizing.units import units_gone
from ...progress import Progress, ProgressCallback, silent
from ...texts.rows import TextRow
from ..scoring.dense_statistics import dense_statistics
from ..scoring.inputs import Inputs
from ..scoring.scores import score
from ..structured import unit_choice
from ..structured.unit_choice import lowest_units, planned_counts
from .removal import measured_unit_scores, prune_block

if TYPE_CHECKING:
    import pandas as pd

    from ...models.loaded import LoadedModel
    from ..planning.plan import PruningPlan
    from ..scoring.calibration import Calibration

OUTSTANDING = 5.0  # times the mean score of the layer
_TEXTS = 8
_DRAWS = 4


def outlier_shares(model: LoadedModel, calibration: Calibration, progress: ProgressCallback = silent) -> list[float]:
    """Return OWL's value per layer: the fraction of its Wanda scores, on clean inputs, above 5 times their mean.

    arXiv 2310.05175.
    """
    norms = dense_statistics(model, "wanda", Inputs(), calibration, progress)
    return [outlier_share(model.linears(layer), norms) for layer in range(len(model.blocks))]


def outlier_share(linears: dict[str, nn.Linear], norms: dict[str, Tensor]) -> float:
    """Return `outlier_shares` of one layer, from its matrices and the norms of their inputs by name."""
    scores = torch.cat([score("wanda", module.weight.data, norms[name]).flatten() for name, module in linears.items()])
    return float((scores > OUTSTANDING * scores.mean()).float().mean())


def loss_increases(
    model: LoadedModel,
    plan: PruningPlan,
    inputs: Inputs,
    calibration: Calibration,
    ranking: pd.DataFrame | None = None,
    progress: ProgressCallback = silent,
) -> list[float]:
    """Return the increase of the loss in nats per token when each layer alone is pruned as ``plan`` says.

    One-shot, on the same masks for every layer; at most 8 texts, 4 masks each. Units (heads, channels) are zeroed in
    place. The model is restored afterwards.
    """
    rows = _text_rows(model, calibration)
    dense = text_likelihood(model, rows, draws=_DRAWS, seed=inputs.seed)
    trial = model.clone()
    if plan.shape is None:
        result = dense_statistics(model, METHODS[plan.method].score, inputs, calibration, progress)
    else:
        scores = measured_unit_scores(model, plan.method, plan.pattern, inputs, calibration, ranking, progress)
        removed = lowest_units(scores, planned_counts(model.info, plan), plan.pattern)
    increases = []
    for layer in range(len(model.blocks)):
        if plan.shape is None:
            prune_block(trial, layer, result, plan, inputs.seed)
        else:
            zero_units(trial, layer, plan.pattern, removed[layer])
        change = text_likelihood(trial, rows, draws=_DRAWS, seed=inputs.seed).minus(dense)
        increases.append(change["nats_per_token"])
        for original, copy in zip(model.linears(layer).values(), trial.linears(layer).values(), strict=True):
            copy.weight.data.copy_(original.weight.data)
        progress(Progress("sensitivity", layer + 1, len(model.blocks), data={"increase": increases[-1]}))
    return increases


def counts_across_layers(
    model: LoadedModel,
    plan: PruningPlan,
    inputs: Inputs,
    calibration: Calibration | None,
    ranking: pd.DataFrame | None = None,
    progress: ProgressCallback = silent,
) -> list[int]:
    """Return how many units each layer loses when the units of all layers compete by the plan's method."""
    scores = measured_unit_scores(model, plan.method, plan.pattern, inputs, calibration, ranking, progress)
    total = sum(units_gone(model.info, plan.pattern, plan.sparsity))
    return unit_choice.counts_across_layers(scores, total, relative=not METHODS[plan.method].ranks_heads)


def head_stability(ranking: pd.DataFrame) -> list[float]:
    """Return minus the mean instability of each layer's heads (METRICS section 3), in layer order."""
    return (-ranking.groupby("layer")["instability"].mean().sort_index()).tolist()


def _text_rows(model: LoadedModel, calibration: Calibration) -> list[TextRow]:
    rows = []
    for i in range(min(_TEXTS, len(calibration.tokens))):
        seen = slice(calibration.lengths[i])
        scored = calibration.valid[i, seen] & calibration.maskable[i, seen]
        if not model.is_diffusion:
            scored = scored & (np.arange(len(scored)) > 0)
        if scored.any():
            rows.append(TextRow(calibration.tokens[i, seen], scored, int(scored.sum())))
    return rows
