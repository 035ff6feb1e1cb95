"""Scores of whole units: the sum of a method's weight score over the unit's columns of the matrix that reads it.

That matrix is the attention's output projection for heads, the down projection for channels, both for layers (METRICS
section 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...choices.methods import METHODS
from ...errors import required
from ...models.resizing.remove_units import CARRIES
from ...models.resizing.units import layer_units
from ..scoring.scores import score

if TYPE_CHECKING:
    import pandas as pd

    from ...models.loaded import LoadedModel


def unit_scores(
    model: LoadedModel, method: str, unit: str, found: dict[str, Tensor], *, seed: int, ranking: pd.DataFrame | None
) -> list[Tensor]:
    """Return, per layer, the score of each of its units, float32 [groups] or [channels], or [1] for a whole layer.

    ``found``: the method's statistic by matrix name; for flap the moments of `statistics.Moments`. ``ranking``: methods
    that rank heads only; a group's score is the mean importance of its heads.
    """
    info = model.info
    if METHODS[method].ranks_heads:
        table = (
            required(ranking, "the ranking of heads")
            .pivot(index="layer", columns="head", values="importance")
            .sort_index()
        )
        return [torch.tensor(row, dtype=torch.float32).view(info.kv_heads, -1).mean(1) for row in table.to_numpy()]
    scores = []
    for layer in range(info.layers):
        columns = [
            _column_scores(method, model.module.get_submodule(m.name).weight.data, found.get(m.name), seed, m.name)
            for m in info.matrices
            if m.layer == layer and m.kind in CARRIES[unit]
        ]
        if unit == "layers":
            scores.append(torch.stack([part.sum() for part in columns]).sum().view(1))
        else:
            scores.append(columns[0].view(layer_units(info, unit)[layer], -1).sum(1))
    return scores


def head_scores(model: LoadedModel, method: str, found: dict[str, Tensor], *, seed: int) -> dict[int, Tensor]:
    """Return the score of every single head by layer, float32 [heads], whether or not heads share keys and values.

    ``found``: as `unit_scores` takes it.
    """
    width = model.info.head_dim
    return {
        m.layer: _column_scores(method, model.module.get_submodule(m.name).weight.data, found.get(m.name), seed, m.name)
        .view(-1, width)
        .sum(1)
        for m in model.info.matrices
        if m.kind == "o"
    }


def _column_scores(method: str, weight: Tensor, statistic: Tensor | None, seed: int, name: str) -> Tensor:
    """Return the sum over outputs of the weight score, float32 [in]; for flap Var(x_j) * norm2(W_:j)^2."""
    if method == "flap":
        return required(statistic, "the moments")[1].float() * weight.float().square().sum(0)
    return score(METHODS[method].score, weight, statistic, seed=seed, matrix=name).sum(0)
