"""What a model costs: its size, and how fast it writes, always beside the model it is compared with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from ..progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_PROMPT = "once there was a"
_LENGTH = 128
_STEPS = 16
_REPEATS = 5


def model_size(model: LoadedModel) -> dict[str, int]:
    """parameters, nonzero_parameters, bytes of the weights in memory; tied weights count once."""
    parameters = list(model.module.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "nonzero_parameters": sum(int(torch.count_nonzero(p)) for p in parameters),
        "bytes": sum(p.numel() * p.element_size() for p in parameters),
    }


def layer_sparsity(model: LoadedModel) -> list[dict[str, Any]]:
    """Return per layer {"layer", "weights", "zeros", "sparsity"}: what is really in its prunable matrices, counted."""
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
    """tokens_per_second of every model, from runs that take turns so that a busy machine disturbs all alike.

    Diffusion: a canvas of 128 tokens in 16 denoising steps. Autoregressive: 32 tokens, one after the other. After one
    turn that does not count, the best of ``repeats``: other work on the machine only ever slows a run (as in Python's
    timeit), and a page that draws meanwhile can double the time of most turns. Every other turn goes the other way
    round, so that what disturbs in a rhythm does not meet the same model every time. ``seconds`` is the best whole run,
    ``turns`` the seconds of each.
    """
    turns: list[list[float]] = [[] for _ in models]
    written = [0] * len(models)
    for turn in range(repeats + 1):
        for place, i in enumerate(range(len(models))[:: -1 if turn % 2 else 1]):
            progress(Progress("speed", turn * len(models) + place, (repeats + 1) * len(models), "Timing generation"))
            started = time.perf_counter()
            written[i] = _generate(models[i])
            if turn:
                turns[i].append(time.perf_counter() - started)
    seconds = [min(turn) for turn in turns]
    return [
        {"tokens_per_second": count / second, "seconds": second, "turns": turn}
        for count, second, turn in zip(written, seconds, turns, strict=True)
    ]


def speedup(own: dict[str, Any], dense: dict[str, Any]) -> float:
    """Tokens per second over the dense model's, of two rows of one `generation_speed`."""
    return own["tokens_per_second"] / dense["tokens_per_second"]


def _generate(model: LoadedModel) -> int:
    from .generation import generate

    length = min(_LENGTH, model.info.max_length or _LENGTH)
    to_write = length - len(model.encode(_PROMPT))
    steps = min(_STEPS if model.is_diffusion else 2 * _STEPS, to_write)
    # Counting what was written reads the last tokens, so a GPU has finished when this returns.
    return generate(model, [_PROMPT], length=length, steps=steps).count
