"""DiffusionGemma behind the common interface: its decoder is observed, and its own generate samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelProblem
from .loaded import LoadedModel


@dataclass(frozen=True)
class Window:
    """The queries of a decoder pass among all positions of a text.

    masked: (batch, total) bool, positions that are not written yet; the queries are at ``start`` to ``stop``.
    """

    start: int
    stop: int
    masked: Tensor

    @property
    def total(self) -> int:
        """Number of positions of the text."""
        return self.masked.shape[1]


class DiffusionGemma(LoadedModel):
    """A `LoadedModel` around DiffusionGemmaForBlockDiffusion.

    Attributes:
        window: Where the decoder's queries stand while a sampler runs; None outside.
    """

    def __init__(self, module: nn.Module, tokenizer: Any | None, info: Any) -> None:
        super().__init__(module, tokenizer, info)
        self.window: Window | None = None

    @property
    def observed_module(self) -> nn.Module:
        """The module whose forward is a denoising step; generate calls it, not the whole model."""
        return self.module.model.decoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the logits of the text as one canvas after its first token, without self-conditioning.

        Row 0 is that of the encoder, which reads the first token; no row predicts it.
        """
        if attention_mask is not None and not bool(attention_mask.all()):
            raise ModelProblem(f"{self.info.ref} denoises texts of one length; padding can't be left out.")
        canvas = input_ids[:, 1:]
        positions = torch.arange(1, input_ids.shape[1], device=self.device)[None]
        masked = torch.zeros_like(input_ids, dtype=torch.bool)
        before, self.window = self.window, Window(1, input_ids.shape[1], masked)
        try:
            logits = self.module(
                input_ids=input_ids[:, :1], decoder_input_ids=canvas, decoder_position_ids=positions
            ).logits
        finally:
            self.window = before
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)
