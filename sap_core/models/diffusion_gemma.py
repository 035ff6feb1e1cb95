"""DiffusionGemma behind the common interface: its decoder is observed, and its own generate samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelProblem
from .loaded import LoadedModel


@dataclass(frozen=True)
class Window:
    """The queries of a decoder pass among all positions of a text.

    masked: (batch, total) bool, positions that are not written yet; the queries stand at ``start`` to ``stop``.
    first_key: Position of the first key; None where the keys end with the queries.
    """

    start: int
    stop: int
    masked: Tensor
    first_key: int | None = None

    @property
    def total(self) -> int:
        """Number of positions of the text."""
        return self.masked.shape[1]


class DiffusionGemma(LoadedModel):
    """A `LoadedModel` around DiffusionGemmaForBlockDiffusion.

    Its ``window`` says where the decoder's queries stand while a sampler runs.
    """

    reads_cache = True

    def __init__(self, module: nn.Module, tokenizer: Any | None, info: Any) -> None:
        super().__init__(module, tokenizer, info)
        self._start: int | None = None

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
        if self._start is not None:
            start = torch.full_like(input_ids[:, :1], self._start)
            return self._behind(torch.cat([start, input_ids], 1))[:, 1:]
        return self._behind(input_ids)

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """Make every text a whole canvas behind a start token, which the encoder reads, while open."""
        before, self._start = self._start, int(getattr(self.module.config.text_config, "bos_token_id", None) or 0)
        try:
            yield
        finally:
            self._start = before

    def _behind(self, input_ids: Tensor) -> Tensor:
        """Logits of the tokens behind the first, which the encoder reads; row 0 is zero."""
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
