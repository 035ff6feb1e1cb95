"""Prune layer by layer, each as hard as a budget of loss allows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..choices.methods import check_combination, parse_pattern
from ..errors import InvalidInput
from .prune import SparsityOptions


class ProgressivePruneSpec(SparsityOptions):
    """Prune layer by layer, at most to the sparsity, each as hard as a budget of loss allows."""

    strategy: Literal["progressive"] = "progressive"
    budget: float = Field(ge=0, description="layer by layer, largest rise of the loss as a share of the dense model's")
    validation: str | None = Field(None, description="FILE.txt the loss is measured on; default: held-out stories")

    @model_validator(mode="after")
    def _weights_only(self) -> ProgressivePruneSpec:
        check_combination(self.method, self.pattern, self.sparsity, self.compare, self.order)
        if parse_pattern(self.pattern).unit or self.method == "heads":
            raise InvalidInput(
                "progressive pruning (budget) decides each layer's sparsity itself; it supports the patterns "
                f"unstructured and N:M with allocation uniform, not {self.method} {self.pattern}."
            )
        return self
