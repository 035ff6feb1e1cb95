"""Drill-down: one full attention map, computed again from the tokens that the run stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..attention.attention_rows import Attention, attention_rows
from ..attention.recorder import Queries, record_attention, recording_plan
from ..errors import InvalidInput
from ..models.loaded import LoadedModel
from ..models.loading import load_model
from ..trajectory.access import layer_index, layer_numbers, trajectories_of, visibility


def attention_map(
    model: LoadedModel | str, run: Any, step: int, layer: int, head: int | None = None, sample: int = 0
) -> np.ndarray:
    """A[i, j] of one head at one step, from one forward pass; float32 (position, position), rows = queries.

    Its mean over the valid queries is the stored ``received`` of that step, layer and head. Rows of positions that do
    not exist yet (autoregressive) are zero.

    Args:
        model: the model of the run, loaded or by name.
        run: a run, or a trajectory.
        head: None for the mean over the layer's heads.

    Raises:
        InvalidInput: a step, layer, head or sample that the run does not have; a model of another shape.
    """
    datasets = trajectories_of(run)
    _check("sample", sample, len(datasets))
    dataset = datasets[sample]
    sizes = dataset.sizes
    _check("step", step, sizes["step"])
    layer_index(dataset, layer)
    if head is not None:
        _check("head", head, sizes["head"])
    if isinstance(model, str):
        model = load_model(model)
    if model.is_diffusion and not model.info.row.has_mask:
        raise InvalidInput(
            f"{model.info.ref} builds each step on the predictions of the one before, which a run does not store; "
            "its maps can't be computed again."
        )
    plan = recording_plan(model)
    if (list(plan.layers), plan.heads) != (layer_numbers(dataset), sizes["head"]):
        raise InvalidInput(
            f"{model.info.ref} has {len(plan.layers)} layers of {plan.heads} heads that attend; the run has "
            f"{sizes['layer']} of {sizes['head']}. Give the model the run was made with."
        )
    exists = np.flatnonzero(visibility(dataset)[1][step])
    tokens = torch.as_tensor(dataset["token"].values[step, exists].astype(np.int64))

    def reduce(index: int, inputs: Attention, queries: Queries) -> np.ndarray | None:
        return _full_map(inputs, head) if index == layer else None

    with record_attention(model, reduce=reduce) as recorder:
        # Where the prompt ended decides the blocks of a model whose answers start one.
        model.answers_at = torch.tensor([int(dataset.attrs["prompt_length"])])
        try:
            model.logits(tokens[None].to(model.device))
        finally:
            model.answers_at = None
        found = recorder.results()[recorder.layers.index(layer)]
    whole = np.zeros((sizes["position"], sizes["position"]), np.float32)
    whole[np.ix_(exists, exists)] = found
    return whole


def _full_map(inputs: Attention, head: int | None) -> np.ndarray:
    size = inputs.query.shape[2]
    groups = inputs.query.shape[1] // inputs.key.shape[1]
    total = np.zeros((size, size))
    for piece in attention_rows(inputs):
        rows = (piece.exponentials / piece.totals[..., None]).cpu().numpy()
        n, _, count, keys = rows.shape
        rows = rows.reshape(n * groups, count, keys)  # query heads in order: the batch is one sample
        first = piece.heads.start * groups
        if head is None:
            total[piece.queries, :keys] += rows.sum(axis=0) / inputs.query.shape[1]
        elif first <= head < first + n * groups:
            total[piece.queries, :keys] = rows[head - first]
    return total.astype(np.float32)


def _check(what: str, value: int, count: int) -> None:
    if not 0 <= value < count:
        raise InvalidInput(f"{what} is {value}; the run has {what}s 0 to {count - 1}.")
