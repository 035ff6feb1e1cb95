"""What a pass over the calibration texts looks at: clean or partly masked rows, and how much each token counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...choices.methods import METHODS
from ...progress import ProgressCallback
from .calibration import Calibration
from .sink_weighting import LEVELS, noised_inputs, persistence
from .statistics import TokenRows, sink_shares

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel


@dataclass(frozen=True)
class Inputs:
    """The inputs of one calibration pass.

    Attributes:
        kind: "clean" texts, or "noised": partly masked at ``levels`` levels.
        sinks: How tokens that are attention sinks are down-weighted: "none", "each", "mean" or "lasting"; see
            `sap_core.choices.methods.Method`.
        levels: Levels of masking.
        seed: Of the masking.
    """

    kind: str = "clean"
    sinks: str = "none"
    levels: int = LEVELS
    seed: int = 0

    @classmethod
    def of(cls, method: str, options: Any) -> Inputs:
        """Return what ``method`` looks at; ``options`` has noise_levels and a seed."""
        row = METHODS[method]
        return cls(row.inputs, row.sinks, options.noise_levels, options.seed)

    @property
    def key(self) -> tuple:
        """What decides the result of a pass; levels and seed do only where something is masked."""
        masks = self.kind == "noised" or self.sinks != "none"
        return (self.kind, self.sinks, self.levels, self.seed) if masks else (self.kind, self.sinks)


def calibration_rows(model: LoadedModel, inputs: Inputs, calibration: Calibration) -> tuple[TokenRows, Tensor]:
    """Return the rows that a pass sees, and the same rows unmasked, [N, S] each."""
    tokens = torch.from_numpy(calibration.tokens).to(model.device)
    weights = torch.from_numpy(calibration.valid).to(model.device, torch.float32)
    # An autoregressive model generates from clean text: its inputs have one noise level, none.
    if inputs.kind == "noised" and model.is_diffusion:
        noised = noised_inputs(tokens, model.info.mask_token_id, inputs.seed, inputs.levels)
        clean = tokens[:, None].expand(noised.shape).flatten(0, 1)
        weights = weights[:, None].expand(noised.shape).flatten(0, 1)
        return TokenRows(noised.flatten(0, 1), weights), clean
    return TokenRows(tokens, weights), tokens


def weighted_rows(
    model: LoadedModel,
    inputs: Inputs,
    calibration: Calibration,
    progress: ProgressCallback,
    sink_shares: Callable[[LoadedModel, Tensor, ProgressCallback], Tensor] = sink_shares,
) -> TokenRows:
    """Return the rows with each token's weight lowered by how much of a sink it is, measured on the dense model.

    ``sink_shares``: how phi [N, S] is found; it is in another way where the model is not in memory.
    """
    rows, tokens = calibration_rows(model, inputs, calibration)
    if inputs.sinks == "none":
        return rows
    if inputs.sinks == "mean":
        noised = tokens[:, None]
        if model.is_diffusion:
            noised = noised_inputs(tokens, model.info.mask_token_id, inputs.seed, inputs.levels)
        share = sink_shares(model, noised.flatten(0, 1), progress).view(noised.shape).mean(1)
        return TokenRows(tokens, rows.weights * (1 - share))
    share = sink_shares(model, rows.tokens, progress)
    if inputs.sinks == "lasting":
        levels = share.view(len(calibration.tokens), -1, share.shape[-1])
        share = (levels * (1 - persistence(levels))[:, None]).flatten(0, 1)
    return TokenRows(rows.tokens, rows.weights * (1 - share))
