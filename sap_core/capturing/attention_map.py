"""One full attention map, computed again from the tokens that the run stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..attention.attention_rows import Attention, attention_rows
from ..attention.observation import Queries
from ..attention.recorder import record_attention, recording_plan
from ..errors import InvalidInput
from ..models.loaded import LoadedModel
from ..models.loading import load_model
from ..runs.reading import open_run
from ..specs.attention_map import AttentionMapSpec
from ..specs.base import asked_spec
from ..trajectory.access import layer_index, layer_numbers, trajectories_of, visibility


def attention_map(
    model: LoadedModel | str,
    run: Any = None,
    step: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    sample: int | None = None,
    *,
    spec: AttentionMapSpec | None = None,
) -> Float[np.ndarray, "query key"]:
    """Return A[i, j] of one head at one step, from one forward pass; float32 (position, position), rows = queries.

    Its mean over the valid queries is the stored ``received`` of that step, layer and head. Rows of positions that do
    not exist yet (autoregressive) are zero.

    Args:
        model: The model of the run, loaded or by name.
        run: A run, or a trajectory.
        step: Step of the run, from 0.
        layer: Layer, by the model's number.
        head: None for the mean over the layer's heads.
        sample: Prompt of the run, from 0, which is the default.
        spec: In place of run, step, layer, head and sample.

    Raises:
        InvalidInput: a spec together with other arguments; a step, layer, head or sample that the run does not have; a
            model of another shape.
    """
    fields = {"run": run, "step": step, "layer": layer, "head": head, "sample": sample}
    if spec is not None:
        asked_spec(AttentionMapSpec.build, None, spec, fields)
        run = open_run(spec.run, unfinished=True)
        step, layer, head, sample = spec.step, spec.layer, spec.head, spec.sample
    elif run is None or step is None or layer is None:
        raise InvalidInput("attention_map needs run, step and layer, or a spec.")
    sample = sample or 0
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
    if dataset.attrs.get("cache"):
        raise InvalidInput(
            f"the run was made with cache {dataset.attrs['cache']}, whose keys and values it does not store; its maps "
            "can't be computed again."
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
    for part in attention_rows(inputs):
        rows = (part.exponentials / part.totals[..., None]).cpu().numpy()
        n, _, count, keys = rows.shape
        rows = rows.reshape(n * groups, count, keys)  # query heads in order: the batch is one sample
        first = part.heads.start * groups
        if head is None:
            total[part.queries, :keys] += rows.sum(axis=0) / inputs.query.shape[1]
        elif first <= head < first + n * groups:
            total[part.queries, :keys] = rows[head - first]
    return total.astype(np.float32)


def _check(what: str, value: int, count: int) -> None:
    if not 0 <= value < count:
        raise InvalidInput(f"{what} is {value}; the run has {what}s 0 to {count - 1}.")
