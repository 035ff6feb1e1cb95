"""One measured value per layer, for allocations that follow a measurement; higher means the layer should keep more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ...evaluation.likelihood import text_likelihood
from ...evaluation.texts import TextRow
from ...models.resizing.remove_units import zero_units
from ...models.resizing.units import units_gone
from ...progress import Progress, ProgressCallback, silent
from ..planning.plan import make_plan
from ..scoring import head_ranking
from ..scoring.scores import score
from ..structured import unit_choice
from ..structured.unit_choice import lowest_units, planned_counts
from .removal import dense_statistics, measured_unit_scores, prune_block

if TYPE_CHECKING:
    import pandas as pd

    from ...models.loaded import LoadedModel
    from ...specs import PruneSpec
    from ..scoring.calibration import Calibration

OUTSTANDING = 5.0  # times the mean score of the layer
_TEXTS = 8
_DRAWS = 4


def outlier_shares(
    model: LoadedModel, spec: PruneSpec, calibration: Calibration, progress: ProgressCallback = silent
) -> list[float]:
    """OWL (arXiv 2310.05175): the share of a layer's Wanda scores, on clean inputs, above 5 times their mean."""
    wanda = spec.model_copy(update={"method": "wanda"})
    norms = dense_statistics(model, wanda, calibration, progress)
    return [outlier_share(model.linears(layer), norms) for layer in range(len(model.blocks))]


def outlier_share(linears: dict[str, nn.Linear], norms: dict[str, Tensor]) -> float:
    """`outlier_shares` of one layer, from its matrices and the norms of their inputs by name."""
    scores = torch.cat([score("wanda", module.weight.data, norms[name]).flatten() for name, module in linears.items()])
    return float((scores > OUTSTANDING * scores.mean()).float().mean())


def loss_increases(
    model: LoadedModel, spec: PruneSpec, calibration: Calibration, progress: ProgressCallback = silent
) -> list[float]:
    """Nats per token by which the loss on calibration texts rises when one layer alone is pruned as the spec says.

    One-shot, on the same masks for every layer; at most 8 texts, 4 masks each. Units (heads, channels) are silenced
    where they are. The model is left as it was.
    """
    alone = spec.model_copy(update={"allocation": "uniform", "order": "auto"})
    plan = make_plan(model.info, alone)
    rows = _text_rows(model, calibration)
    dense = text_likelihood(model, rows, draws=_DRAWS, seed=spec.seed)
    trial = model.clone()
    if plan.shape is None:
        found = dense_statistics(model, alone, calibration, progress)
    else:
        gone = lowest_units(
            _unit_scores(model, alone, calibration, progress), planned_counts(model.info, plan), spec.pattern
        )
    increases = []
    for layer in range(len(model.blocks)):
        if plan.shape is None:
            prune_block(trial, layer, found, plan, spec.seed)
        else:
            zero_units(trial, layer, spec.pattern, gone[layer])
        change = text_likelihood(trial, rows, draws=_DRAWS, seed=spec.seed).minus(dense)
        increases.append(change["nats_per_token"])
        for original, copy in zip(model.linears(layer).values(), trial.linears(layer).values(), strict=True):
            copy.weight.data.copy_(original.weight.data)
        progress(Progress("sensitivity", layer + 1, len(model.blocks), data={"increase": increases[-1]}))
    return increases


def counts_across_layers(
    model: LoadedModel, spec: PruneSpec, calibration: Calibration | None, progress: ProgressCallback = silent
) -> list[int]:
    """How many units each layer loses when those of all layers compete by the spec's scores."""
    scores = _unit_scores(model, spec, calibration, progress)
    total = sum(units_gone(model.info, spec.pattern, spec.sparsity))
    return unit_choice.counts_across_layers(scores, total, relative=spec.method != "heads")


def _unit_scores(
    model: LoadedModel, spec: PruneSpec, calibration: Calibration | None, progress: ProgressCallback
) -> list[Tensor]:
    ranking = head_ranking.ranking(model, spec, progress) if spec.method == "heads" else None
    return measured_unit_scores(model, spec, calibration, ranking, progress)


def head_stability(ranking: pd.DataFrame) -> list[float]:
    """Minus the mean instability of a layer's heads (METRICS section 3), layers in order."""
    return (-ranking.groupby("layer")["instability"].mean().sort_index()).tolist()


def _text_rows(model: LoadedModel, calibration: Calibration) -> list[TextRow]:
    rows = []
    for tokens, valid in zip(calibration.tokens[:_TEXTS], calibration.valid[:_TEXTS], strict=True):
        scored = valid if model.is_diffusion else valid & (np.arange(len(tokens)) > 0)
        rows.append(TextRow(tokens, scored, int(scored.sum())))
    return rows
