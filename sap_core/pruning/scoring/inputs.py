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
from .sink_weighting import LEVELS, noised_inputs, persistence, uniform_inputs
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
        rows, shape = _rows_by_level(model, inputs, calibration)
        return rows, tokens[:, None].expand(shape).flatten(0, 1)
    return TokenRows(tokens, weights, calibration.lengths.tolist()), tokens


def _rows_by_level(model: LoadedModel, inputs: Inputs, calibration: Calibration) -> tuple[TokenRows, torch.Size]:
    """Return the rows at every level of masking, [N * levels, S], and the shape [N, levels, S]."""
    tokens = torch.from_numpy(calibration.tokens).to(model.device)
    weights = torch.from_numpy(calibration.valid).to(model.device, torch.float32)
    maskable = torch.from_numpy(calibration.maskable).to(model.device)
    noised = torch.where(maskable[:, None], noised_rows(model, tokens, inputs), tokens[:, None])
    weights = weights[:, None].expand(noised.shape).flatten(0, 1)
    lengths = calibration.lengths.repeat(noised.shape[1]).tolist()
    return TokenRows(noised.flatten(0, 1), weights, lengths), noised.shape


def noised_rows(model: LoadedModel, tokens: Tensor, inputs: Inputs) -> Tensor:
    """Return ``tokens`` [N, S] partly masked, [N, levels, S], as the public code of arXiv 2602.17664 does it.

    Evenly spaced levels, or, for Dream, a level drawn for each pass; methods of ours that compare levels have the even
    ones for every family.
    """
    draw = uniform_inputs if model.info.row.uniform_noise and inputs.sinks != "lasting" else noised_inputs
    return draw(tokens, model.check_masked(), inputs.seed, inputs.levels)


def weighted_rows(
    model: LoadedModel,
    inputs: Inputs,
    calibration: Calibration,
    progress: ProgressCallback,
    sink_shares: Callable[[LoadedModel, TokenRows, ProgressCallback], Tensor] = sink_shares,
) -> TokenRows:
    """Return the rows with each token's weight lowered by how much of a sink it is, measured on the dense model.

    ``sink_shares``: how phi [N, S] is found; it is in another way where the model is not in memory.
    """
    rows, tokens = calibration_rows(model, inputs, calibration)
    if inputs.sinks == "none":
        return rows
    if inputs.sinks == "mean":
        seen, shape = rows, tokens[:, None].shape
        if model.is_diffusion:
            seen, shape = _rows_by_level(model, inputs, calibration)
        return rows.weighted(1 - sink_shares(model, seen, progress).view(shape).mean(1))
    share = sink_shares(model, rows, progress)
    if inputs.sinks == "lasting":
        levels = share.view(len(calibration.tokens), -1, share.shape[-1])
        share = (levels * (1 - persistence(levels))[:, None]).flatten(0, 1)
    return rows.weighted(1 - share)
