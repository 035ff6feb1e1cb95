"""Rules for the tokens that end a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ModelProblem

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from .canvas import Canvas
    from .check import Sampling

END_OF_TURN = "<|eot_id|>"


class EndRule:
    """The rule that ``sampling.ends`` names.

    - fill: they are tokens like others.
    - stop: no block is begun once every text has an end token in the blocks written so far (LLaDA2's, SDAR's and A2D's
      samplers of blocks).
    - logits_eos_inf: the end token is never predicted (LLaDA, arXiv 2502.09992, appendix B.4).
    - confidence_eos_eot_inf: it is predicted, but written last, and so is the token that ends a turn (the same; the
      published code does so at temperature 0 and leaves the end token out at others).

    Attributes:
        last: Tokens whose confidence counts as nothing.
    """

    def __init__(self, model: LoadedModel, canvas: Canvas, sampling: Sampling) -> None:
        self._rule = sampling.ends
        self._tokens = end_tokens(model)
        if self._rule != "fill" and not self._tokens:
            if sampling.ends_given:
                raise ModelProblem(f"{model.info.ref} declares no end token, which the end rule '{self._rule}' needs.")
            self._rule = "fill"
        self._written = ~canvas.given
        turn = [] if self._rule != "confidence_eos_eot_inf" else [model.token_id(END_OF_TURN)]
        self.last = tuple({*self._tokens, *turn} - {None}) if turn else ()

    def forbid(self, logits: Tensor) -> Tensor:
        """Return logits in which an end token can't be predicted, if the rule says so."""
        if self._rule != "logits_eos_inf":
            return logits
        return logits.index_fill(-1, torch.tensor(self._tokens, device=logits.device), -torch.inf)

    def reached(self, tokens: Tensor, done: Tensor) -> bool:
        """Return whether no further block is written; ``done`` (batch, sequence) are the blocks so far."""
        if self._rule != "stop":
            return False
        ends = torch.isin(tokens, torch.tensor(self._tokens, device=tokens.device)) & done & self._written
        return bool(ends.any(1).all())


def end_tokens(model: LoadedModel) -> list[int]:
    """Return the tokens that end a text, from the generation config, the config, or the tokenizer."""
    generation = getattr(model.module, "generation_config", None)
    for holder in (generation, model.module.config, model.tokenizer):
        value = getattr(holder, "eos_token_id", None)
        if value is not None:
            return list(value) if isinstance(value, (list, tuple)) else [value]
    return []
