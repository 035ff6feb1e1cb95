"""Scores of whole layers by their effect, not by their weights.

- similarity: 1 - cos(x, y), x and y a layer's input and output at a token, mean over the tokens of partly masked texts
  of all noise levels: block influence (ShortGPT, arXiv 2403.03853), over denoising instead of clean text.
- loss: increase of the loss in nats per token on calibration texts when the layer alone is skipped.

The layers with the lowest scores are removed first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...evaluation.likelihood import text_likelihood
from ...evaluation.texts import TextRow
from ...progress import Progress, ProgressCallback, silent
from ..scoring.inputs import Inputs, calibration_rows

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel
    from ..scoring.calibration import Calibration

LAYER_SCORES = ("similarity", "loss")
_TEXTS, _DRAWS = 8, 4


def layer_scores(
    model: LoadedModel, score: str, inputs: Inputs, calibration: Calibration, progress: ProgressCallback = silent
) -> list[Tensor]:
    """Return one score per layer, each float32 (1,)."""
    if score == "similarity":
        return _turned(model, inputs, calibration, progress)
    return _missed(model, inputs, calibration, progress)


def _turned(model: LoadedModel, inputs: Inputs, calibration: Calibration, progress: ProgressCallback) -> list[Tensor]:
    rows, _ = calibration_rows(model, inputs, calibration)
    sums = torch.zeros(len(model.blocks), dtype=torch.float64)
    weights = torch.empty(0)

    def watch(layer: int) -> Any:
        def add(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            turned = 1 - torch.nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
            sums[layer] += float((turned[0].double() * weights.to(turned.device)).sum())

        return add

    hooks = [block.register_forward_hook(watch(i), with_kwargs=True) for i, block in enumerate(model.blocks)]
    try:
        for number, tokens in enumerate(rows.tokens):
            weights = rows.weights[number].double()
            model.logits(tokens[None])
            progress(Progress("calibrate", number + 1, len(rows.tokens), "Comparing layers' inputs and outputs"))
    finally:
        for hook in hooks:
            hook.remove()
    return list((sums / float(rows.weights.sum())).float().view(-1, 1))


def _missed(model: LoadedModel, inputs: Inputs, calibration: Calibration, progress: ProgressCallback) -> list[Tensor]:
    rows = []
    for tokens, valid in zip(calibration.tokens[:_TEXTS], calibration.valid[:_TEXTS], strict=True):
        scored = valid.copy()
        if not model.is_diffusion:
            scored[0] = False
        rows.append(TextRow(tokens, scored, int(scored.sum())))
    dense = text_likelihood(model, rows, draws=_DRAWS, seed=inputs.seed)
    result = []
    for layer, block in enumerate(model.blocks):
        hook = block.register_forward_hook(_pass_through, with_kwargs=True)
        try:
            change = text_likelihood(model, rows, draws=_DRAWS, seed=inputs.seed).minus(dense)
        finally:
            hook.remove()
        result.append(torch.tensor([change["nats_per_token"]]))
        progress(Progress("sensitivity", layer + 1, len(model.blocks), "Leaving out one layer at a time"))
    return result


def _pass_through(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
    before = args[0] if args else kwargs["hidden_states"]
    return (before, *output[1:]) if isinstance(output, tuple) else before
