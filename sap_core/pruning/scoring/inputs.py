"""Inputs of a pass over the calibration texts: clean or partly masked rows, and the weight of each token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...choices.methods import METHODS
from ...progress import ProgressCallback
from .calibration import Calibration
from .sink_weighting import LEVELS, noised_inputs, persistence, random_inputs, sink_mask, sink_weights, uniform_inputs
from .statistics import Phi, TokenRows, sink_shares

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
        sink_rule: Of which positions are sinks and how far: "code" or "paper" (`sink_weights`, `sink_mask`).
        sink_epsilon: That of "paper".
    """

    kind: str = "clean"
    sinks: str = "none"
    levels: int = LEVELS
    seed: int = 0
    sink_rule: str = "code"
    sink_epsilon: float = 0.0

    @classmethod
    def of(cls, method: str, options: Any) -> Inputs:
        """Return the inputs that ``method`` measures on; ``options`` has noise_levels and a seed."""
        known = METHODS[method]
        paper = options.sink_rule == "paper"
        return cls(
            known.inputs,
            known.sinks,
            options.noise_levels,
            options.seed,
            options.sink_rule,
            options.epsilon_of_sinks if paper else 0.0,
        )

    def phi(self, received: Tensor) -> Tensor:
        """Return how much of a sink each position is, [B, S], from ``received`` [B, L, H, S]."""
        return sink_mask(received, self.sink_epsilon) if self.sink_rule == "paper" else sink_weights(received)

    @property
    def key(self) -> tuple:
        """Return everything that decides the result of a pass; levels and seed count only where something is masked."""
        masks = self.kind == "noised" or self.sinks != "none"
        if not masks:
            return (self.kind, self.sinks)
        rule = (self.sink_rule, self.sink_epsilon) if self.sinks != "none" else ()
        return (self.kind, self.sinks, self.levels, self.seed, *rule)


def calibration_rows(model: LoadedModel, inputs: Inputs, calibration: Calibration) -> tuple[TokenRows, Tensor]:
    """Return the rows that the model sees, and the same rows unmasked, [N, S] each."""
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
    ones for every family. A model that denoises random tokens (DiffusionGemma) gets those in the place of masks.
    """
    if not model.info.row.has_mask:
        return random_inputs(tokens, model.info.vocab_size, inputs.seed, inputs.levels)
    draw = uniform_inputs if model.info.row.uniform_noise and inputs.sinks != "lasting" else noised_inputs
    return draw(tokens, model.check_masked(), inputs.seed, inputs.levels)


def weighted_rows(
    model: LoadedModel,
    inputs: Inputs,
    calibration: Calibration,
    progress: ProgressCallback,
    sink_shares: Callable[[LoadedModel, TokenRows, Phi, ProgressCallback], Tensor] = sink_shares,
) -> TokenRows:
    """Return the rows with each token's weight reduced by phi, its sink weight measured on the dense model.

    ``sink_shares``: function that computes phi [N, S]; another one is given if the model is not in memory.
    """
    rows, tokens = calibration_rows(model, inputs, calibration)
    if inputs.sinks == "none":
        return rows
    if inputs.sinks == "mean":
        seen, shape = rows, tokens[:, None].shape
        if model.is_diffusion:
            seen, shape = _rows_by_level(model, inputs, calibration)
        return rows.weighted(1 - sink_shares(model, seen, inputs.phi, progress).view(shape).mean(1))
    fraction = sink_shares(model, rows, inputs.phi, progress)
    if inputs.sinks == "lasting":
        levels = fraction.view(len(calibration.tokens), -1, fraction.shape[-1])
        fraction = (levels * (1 - persistence(levels))[:, None]).flatten(0, 1)
    return rows.weighted(1 - fraction)
