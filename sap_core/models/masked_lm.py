"""BERT-like models: no cache, and position ids that each class counts in its own way."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from .loaded import LoadedModel
from .row_positions import positions
from .sizes import first_position


class MaskedLanguageModel(LoadedModel):
    """A `LoadedModel` around a class of AutoModelForMaskedLM."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the logits (batch, sequence, vocabulary)."""
        options: dict[str, Any] = {}
        valid = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(self.device)
        if attention_mask is not None:
            options["attention_mask"] = valid
        if "position_ids" in inspect.signature(self.module.forward).parameters:
            # Given always: RoBERTa's classes would count a padding token inside a text as no position.
            options["position_ids"] = positions(valid) + first_position(self.info.native_config)
        return self.module(input_ids=input_ids, **options).logits
