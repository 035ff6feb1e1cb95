"""Keys and values kept while one block of a bidirectional canvas is written: Fast-dLLM's caches (arXiv 2505.22618).

Both are approximate: tokens outside the block are seen as they were when the block began, and the tokens that come out
are not those of the whole canvas. At the beginning of each block the canvas is computed whole; then

- prefix: the keys and values before the block stay; the block and all behind it are computed again at every step.
- dual: those before and behind stay; the block alone is computed again, and its keys and values replace the old ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .diffusion_gemma import Window
from .row_positions import shift_back

if TYPE_CHECKING:
    from .loaded import LoadedModel


class BlockCache:
    """The keys and values of one canvas.

    Args:
        kind: "prefix" or "dual".
    """

    def __init__(self, model: LoadedModel, kind: str) -> None:
        self._model, self._dual = model, kind == "dual"
        self._cache: Any = None

    @torch.no_grad()
    def whole(self, tokens: Tensor) -> Tensor:
        """Compute the whole canvas anew and keep its keys and values: (batch, S) -> (batch, S, vocabulary)."""
        from transformers import DynamicCache

        self._cache = DynamicCache(config=self._model.module.config)
        return self._logits(tokens, 0, tokens.shape[1])

    @torch.no_grad()
    def part(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """Compute the columns from ``start`` on, up to ``stop`` where the cache is dual: (batch, columns, vocabulary).

        Of a model whose rows predict the next token the first column is predicted by nothing here; it is written when
        the block begins.
        """
        model, total = self._model, tokens.shape[1]
        end = stop if self._dual else total
        if self._dual:
            for layer in self._cache.layers:
                layer.__class__ = _replacing(layer.__class__)
                layer.place = slice(start, stop)
        else:
            self._keep(start)
        model.window = Window(start, end, tokens == model.check_masked(), first_key=0)
        try:
            return self._logits(tokens[:, start:end], start, end)
        finally:
            model.window = None
            if not self._dual:
                self._keep(start)

    def _keep(self, length: int) -> None:
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]

    def _logits(self, tokens: Tensor, start: int, end: int) -> Tensor:
        model = self._model
        total = end if start == 0 or not self._dual else self._cache.layers[0].keys.shape[2]
        seen = torch.zeros(len(tokens), 1, tokens.shape[1], total, dtype=model.dtype, device=model.device)
        where = torch.arange(start, end, device=model.device).expand(len(tokens), -1)
        logits = model.module(
            input_ids=tokens.to(model.device),
            attention_mask=None if start == 0 else seen,
            position_ids=where,
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        return shift_back(logits) if model.info.shift_logits else logits


def _replacing(kind: type) -> type:
    """Return the class of a cache's layer that puts new keys and values at ``place`` instead of behind the others."""
    if hasattr(kind, "place"):
        return kind

    def update(self: Any, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys[:, :, self.place], self.values[:, :, self.place] = key_states, value_states
        return self.keys, self.values

    return type(f"Replacing{kind.__name__}", (kind,), {"update": update, "place": slice(0)})
