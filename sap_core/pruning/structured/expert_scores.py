"""Scores of whole experts of a mixture: how often the router chooses them, and how much they then contribute.

With g_j(x) the router's weight of expert j for a token x it is chosen for, and f_j(x) its output:

- frequency: tokens sent to j, over all tokens.
- reap: mean over those tokens of g_j(x) norm2(f_j(x)) (REAP, arXiv 2510.13999); 0 for an expert that gets none.
- random: drawn by the seed.

On noised inputs both are also kept per noise level, because the experts of early steps (mostly masked) and of late ones
differ; the score is then over the tokens of all levels together.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import required
from ...models.experts import Expert, Experts
from ...models.layout import EXPERT
from ...models.resizing.units import layer_units
from ...progress import Progress, ProgressCallback, silent
from ..scoring.inputs import Inputs, calibration_rows
from .unit_choice import lowest_experts

if TYPE_CHECKING:
    from ...models.info import ModelInfo
    from ...models.loaded import LoadedModel
    from ..scoring.calibration import Calibration


def expert_scores(
    model: LoadedModel,
    score: str,
    inputs: Inputs,
    calibration: Calibration | None,
    progress: ProgressCallback = silent,
) -> tuple[list[Tensor], dict[str, Any]]:
    """Return, per layer, the score of every expert, and the same per noise level where inputs are noised.

    Args:
        model: The dense model.
        score: "frequency", "reap" or "random".
        inputs: Clean or noised rows, and the seed.
        calibration: The calibration texts; None for "random".
        progress: Called after every batch.

    Returns:
        Scores float32 (experts,) per layer, empty where a layer has none; {"scores": (level, layer) tensors} or {}.
    """
    counts = layer_units(model.info, "experts")
    if score == "random":
        generator = torch.Generator().manual_seed(inputs.seed)
        return [torch.rand(count, generator=generator) for count in counts], {}
    rows, _ = calibration_rows(model, inputs, required(calibration, "calibration"))
    levels = inputs.levels if inputs.kind == "noised" and model.is_diffusion else 1
    watched = {layer: Watch(experts, levels) for layer, experts in _mixtures(model).items()}
    with ExitStack() as stack:
        for watch in watched.values():
            stack.enter_context(watch)
        for number, (tokens, weights) in enumerate(zip(rows.tokens, rows.weights, strict=True)):
            for watch in watched.values():
                watch.level, watch.weights = number % levels, weights
            model.logits(tokens[None])
            progress(Progress("calibrate", number + 1, len(rows.tokens), "Routing calibration texts"))
    total = float(rows.weights.sum())
    each = [
        [_value(watched.get(layer), score, level, total / levels) for layer in range(len(counts))]
        for level in range(levels)
    ]
    whole = [_value(watched.get(layer), score, None, total) for layer in range(len(counts))]
    return whole, {"scores": each} if levels > 1 else {}


class Watch:
    """Accumulates, while open, what the experts of one mixture receive and contribute.

    Attributes:
        level: Noise level of the running text.
        weights: (S,) of its tokens, 0 at padding.
        tokens: (level, expert) weights of the tokens sent there.
        given: (level, expert) sums of g norm2(f) over them.
    """

    def __init__(self, experts: Experts, levels: int) -> None:
        self._experts, self.level = experts, 0
        self.weights = torch.empty(0)
        self.tokens = torch.zeros(levels, len(experts), dtype=torch.float64)
        self.given = torch.zeros(levels, len(experts), dtype=torch.float64)

    def __enter__(self) -> Watch:
        self._hooks = [self._experts.register_forward_pre_hook(self._routed)]
        for number, expert in enumerate(self._experts):
            self._hooks.append(expert.register_forward_hook(self._after(number)))
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _routed(self, module: nn.Module, args: tuple) -> None:
        _, self._index, self._share = args

    def _after(self, number: int) -> Any:
        def add(expert: Expert, args: tuple, output: Tensor) -> None:
            routed: Any = expert.down_proj.routed
            tokens = routed.tokens
            chosen = self._index[tokens] == number
            fraction = (self._share[tokens] * chosen).sum(-1).double()
            weight = self.weights[tokens].double()
            self.tokens[self.level, number] += float(weight.sum())
            self.given[self.level, number] += float((weight * fraction * output.double().norm(dim=-1)).sum())

        return add


def level_differences(levels: dict[str, Any], counts: list[int], info: ModelInfo) -> list[dict[str, Any]]:
    """Return how the noise levels disagree on the removed experts, one entry per layer that has experts.

    ``early``: experts that the most masked third of the levels would keep and the least masked would remove; ``late``:
    the other way round; ``agreement``: fraction of the removed experts on which both agree.
    """
    scores = levels["scores"]
    third = max(1, len(scores) // 3)
    result = []
    for layer, count in enumerate(counts):
        if not count:
            continue
        ends = [torch.stack([level[layer] for level in part]).mean(0) for part in (scores[:third], scores[-third:])]
        late, early = (set(lowest_experts(info, [end], [count])[0]) for end in ends)
        result.append(
            {
                "layer": layer,
                "early": sorted(late - early),
                "late": sorted(early - late),
                "agreement": len(late & early) / count,
            }
        )
    return result


def _value(watch: Watch | None, score: str, level: int | None, total: float) -> Tensor:
    if watch is None:
        return torch.empty(0)
    tokens, given = (part.sum(0) if level is None else part[level] for part in (watch.tokens, watch.given))
    return (tokens / total if score == "frequency" else given / tokens.clamp(min=1e-30)).float()


def _mixtures(model: LoadedModel) -> dict[int, Experts]:
    result = {}
    for matrix in model.info.matrices:
        if matrix.layer not in result and (match := EXPERT.match(matrix.name)):
            result[matrix.layer] = model.module.get_submodule(match["owner"])
    return result
