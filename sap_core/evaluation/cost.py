"""The cost of a model: its size, and its speed, always beside the model it is compared with."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..progress import Progress, ProgressCallback, silent
from ..sinks.intervals import median_interval

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_PROMPT = "once there was a"
_LENGTH = 128
_STEPS = 16
_REPEATS = 6  # the fewest whose smallest and largest ratio hold the median with 95 %


def model_size(model: LoadedModel) -> dict[str, int]:
    """Return parameters, nonzero_parameters and bytes of the weights in memory; tied weights count once."""
    parameters = list(model.module.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "nonzero_parameters": sum(int(torch.count_nonzero(p)) for p in parameters),
        "bytes": sum(p.numel() * p.element_size() for p in parameters),
    }


def layer_sparsity(model: LoadedModel) -> list[dict[str, Any]]:
    """Return {"layer", "weights", "zeros", "sparsity"} of each layer's prunable matrices, counted in the weights."""
    rows = []
    for layer in range(len(model.blocks)):
        weights = [linear.weight for linear in model.linears(layer).values()]
        size = sum(weight.numel() for weight in weights)
        zeros = size - sum(int(torch.count_nonzero(weight)) for weight in weights)
        rows.append({"layer": layer, "weights": size, "zeros": zeros, "sparsity": zeros / size if size else 0.0})
    return rows


def generation_speed(
    models: list[LoadedModel], *, repeats: int = _REPEATS, progress: ProgressCallback = silent
) -> list[dict[str, Any]]:
    """Return tokens_per_second of every model, timed in turns so that a busy machine affects all alike.

    Diffusion: a canvas of 128 tokens in 16 denoising steps. Autoregressive: 32 tokens, one after the other. After one
    warm-up turn, the best of ``repeats``: other work on the machine only ever slows a run (as in Python's timeit), and
    a page that draws meanwhile can double the time of most turns. Every other turn is in reverse order, so that a
    periodic disturbance does not always affect the same model. ``seconds`` is the best whole run, ``turns`` the seconds
    of each. A model that is given twice is timed once: both rows are the same object.
    """
    different = list({id(model): model for model in models}.values())
    if len(different) < len(models):
        rows = generation_speed(different, repeats=repeats, progress=progress)
        timed = {id(model): record for model, record in zip(different, rows, strict=True)}
        return [timed[id(model)] for model in models]
    turns: list[list[float]] = [[] for _ in models]
    written = [0] * len(models)
    for turn in range(repeats + 1):
        for number, i in enumerate(range(len(models))[:: -1 if turn % 2 else 1]):
            progress(Progress("speed", turn * len(models) + number, (repeats + 1) * len(models), "Timing generation"))
            started = time.perf_counter()
            written[i] = _generate(models[i])
            if turn:
                turns[i].append(time.perf_counter() - started)
    seconds = [min(turn) for turn in turns]
    return [
        {"tokens_per_second": count / second, "seconds": second, "turns": turn}
        for count, second, turn in zip(written, seconds, turns, strict=True)
    ]


def speedup(own: dict[str, Any], dense: dict[str, Any]) -> dict[str, float | None]:
    """Return the speed over the dense model's, from two rows of one `generation_speed`.

    The median over turns of the ratio within a turn, so that what slows the machine for a while slows both, times the
    ratio of the tokens written in one. A row against itself is 1 by definition.

    Returns:
        {"speedup", "speedup_low", "speedup_high"}: the 95 % interval by ranks over turns; None for fewer than 6.
    """
    if own is dense:
        return {"speedup": 1.0, "speedup_low": 1.0, "speedup_high": 1.0}
    written = [record["tokens_per_second"] * record["seconds"] for record in (own, dense)]
    ratios = np.array(dense["turns"]) / np.array(own["turns"]) * (written[0] / written[1])
    value, low, high = median_interval(ratios)
    interval = (None, None) if math.isnan(low) else (low, high)
    return {"speedup": value, "speedup_low": interval[0], "speedup_high": interval[1]}


def _generate(model: LoadedModel) -> int:
    from .generation import generate

    length = min(_LENGTH, model.info.max_length or _LENGTH)
    to_write = length - len(model.encode(_PROMPT))
    steps = min(_STEPS if model.is_diffusion else 2 * _STEPS, to_write)
    # Counting what was written reads the last tokens, so a GPU has finished when this returns.
    return generate(model, [_PROMPT], length=length, steps=steps).count
