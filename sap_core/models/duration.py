"""Estimate the duration of a capture from the operations of one step and the speed of this machine. No torch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median

from .info import ModelInfo

_PROBE = 512  # width of the matrices the machine's pace is probed with


def step_flops(info: ModelInfo, *, length: int, batch: int = 1, guidance: bool = False) -> float:
    """Return the floating-point operations of one denoising step, or of one token of an autoregressive text.

    2 x parameters x tokens for the matrices (one multiplication and one addition per weight and token; Kaplan et al.,
    arXiv 2001.08361, section 2.1), 8 x layers x heads x head width x length^2 for attention and for the statistics that
    are computed beside it, which compute the scores once more. Guidance runs the model twice. Embeddings are counted as
    if they multiplied, so small models with large vocabularies are overestimated by up to their fraction of the
    parameters.
    """
    tokens = batch * length
    matrices = 2.0 * info.parameters * tokens
    attention = 8.0 * info.layers * info.heads * info.head_dim * batch * float(length) ** 2
    return (matrices + attention) * (2 if guidance else 1)


def estimate_seconds(flops: float, steps: int, paces: Iterable[float]) -> float | None:
    """Return the seconds of ``steps`` steps at the median of ``paces``; None without any.

    ``paces``: operations per second of earlier runs.
    """
    known = [pace for pace in paces if pace > 0]
    return flops * steps / median(known) if known else None


def machine_pace() -> float:
    """Return the operations per second of this machine's processor, from a few matrix products.

    This takes about ten milliseconds. A capture reaches about a third of it, which is included here; accurate to a
    factor of three.
    """
    import numpy as np

    a = np.ones((_PROBE, _PROBE), np.float32)
    taken = []
    for _ in range(4):
        started = time.perf_counter()
        np.matmul(a, a)
        taken.append(time.perf_counter() - started)
    return 2.0 * _PROBE**3 / min(taken) / 3
