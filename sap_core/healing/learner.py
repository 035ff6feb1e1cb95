"""What of a model learns, in float32, and where its zeros are.

Weights stored in 16 bits are kept in float32 while they learn, because a step is often smaller than their precision;
forward passes then compute in bfloat16 (`Learner.computing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InvalidInput

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import HealSpec


class Learner:
    """A model that learns, in place: all weights of its blocks, its norms and biases, or low-rank additions.

    Attributes:
        model: The model.
        spec: The settings.
        parameters: What is trained, by name.
        masks: True where a matrix may have a weight, by name of a parameter; matrices without zeros have none.
    """

    def __init__(self, model: LoadedModel, spec: HealSpec) -> None:
        self.model, self.spec = model, spec
        self._stored = {name: parameter.dtype for name, parameter in model.module.named_parameters()}
        self.masks: dict[str, Tensor] = {}
        self._additions: list[nn.Linear] = []
        self.parameters = self._low_rank() if spec.train == "lora" else dict(self._own())
        if not self.parameters:
            raise InvalidInput(f"{model.info.ref} has no norms or biases; choose train weights or lora.")
        for name, parameter in self.parameters.items():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
            if spec.train != "lora" and parameter.dim() > 1 and bool((parameter == 0).any()):
                self.masks[name] = parameter.detach() != 0

    @property
    def size(self) -> int:
        """Number of values that are trained; zeros that stay zero are not."""
        total = sum(parameter.numel() for parameter in self.parameters.values())
        return total - sum(int((~mask).sum()) for mask in self.masks.values())

    def computing(self) -> AbstractContextManager:
        """Return the context of forward passes: bfloat16 where weights are stored in 16 bits, else as they are."""
        if {torch.bfloat16, torch.float16} & {*self._stored.values()}:
            return torch.autocast(self.model.device.type, dtype=torch.bfloat16)
        return nullcontext()

    @torch.no_grad()
    def keep_zeros(self) -> None:
        """Set to zero what must be zero."""
        for name, mask in self.masks.items():
            self.parameters[name].mul_(mask)

    @torch.no_grad()
    def finish(self) -> None:
        """Merge additions, and give all weights the precision in which they were stored."""
        if self._additions:
            for linear in self._additions:
                merged = linear.weight.detach()
                parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
                linear.weight.copy_(merged)
        self.keep_zeros()
        for name, parameter in self.model.module.named_parameters():
            parameter.requires_grad_(False)
            parameter.data = parameter.data.to(self._stored[name])

    def _own(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the blocks, or those of one dimension; embeddings and the output matrix stay."""
        blocks = {id(parameter) for block in self.model.blocks for parameter in block.parameters()}
        for name, parameter in self.model.module.named_parameters():
            inside = self.spec.train == "weights" and id(parameter) in blocks
            if parameter.is_floating_point() and (inside or parameter.dim() == 1):
                yield name, parameter

    def _low_rank(self) -> dict[str, nn.Parameter]:
        generator = torch.Generator().manual_seed(self.spec.seed)
        found = {}
        for layer in range(len(self.model.blocks)):
            for name, linear in self.model.linears(layer).items():
                addition = LowRank(linear.weight, min(self.spec.rank, *linear.weight.shape), generator)
                # unsafe: the sum is float32 whatever the weight is stored in
                parametrize.register_parametrization(linear, "weight", addition, unsafe=True)
                self._additions.append(linear)
                found |= {f"{name}.down": addition.down, f"{name}.up": addition.up}
        return found


class LowRank(nn.Module):
    """A weight with a product of two narrow matrices added where it is not zero (Hu et al., arXiv 2106.09685).

    As a whole matrix rather than a second path, so that what is trained is what is merged, zeros included.
    """

    def __init__(self, weight: Float[Tensor, "out in"], rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, cols = weight.shape
        down = torch.randn(rank, cols, generator=generator) / cols**0.5
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        mask = weight.detach() != 0
        self.mask: Bool[Tensor, "out in"] | None = None if bool(mask.all()) else mask

    def forward(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """Return the sum, zero where ``weight`` was."""
        with torch.autocast(weight.device.type, enabled=False):
            total = weight.float() + self.up @ self.down
        return total if self.mask is None else total * self.mask
