"""Prune layer by layer, each as strongly as a loss budget allows."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ..choices.methods import METHODS
from ..choices.patterns import check_combination, parse_pattern
from ..errors import InvalidInput
from .options import option
from .prune import SparsityOptions


class ProgressivePruneSpec(SparsityOptions):
    """Prune layer by layer, at most to the sparsity, each as strongly as a loss budget allows."""

    strategy: Literal["progressive"] = "progressive"
    budget: float = option(
        help="Progressive: layer by layer, as hard as this rise of the loss allows, a share of the dense model's, such "
        "as 0.05.",
        ge=0,
    )
    validation: str | None = option(
        None, "Progressive: texts to measure the loss on.", shown="as for --text, others", reads="texts"
    )

    @model_validator(mode="after")
    def _weights_only(self) -> ProgressivePruneSpec:
        check_combination(self.method, self.pattern, self.sparsity, self.compare, self.order)
        if parse_pattern(self.pattern).unit or METHODS[self.method].ranks_heads:
            raise InvalidInput(
                "progressive pruning (budget) decides each layer's sparsity itself; it supports the patterns "
                f"unstructured and N:M with allocation uniform, not {self.method} {self.pattern}."
            )
        return self
