"""Query sampling: statistics from every n-th query, and their error, measured in the run itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .attention_rows import Attention, Buffers
from .kernel_dispatch import attention_statistics
from .observation import Queries
from .row_statistics import LayerStatistics

CHECK_EVERY = 16  # steps at which all queries are used as well


class QuerySampling:
    """A ``reduce`` function of a recorder that samples queries.

    Set ``check`` before a forward to measure the error there.
    """

    def __init__(self, stride: int, chunk: int = 128) -> None:
        self.check = True
        self._stride, self._chunk = stride, chunk
        self._buffers = Buffers()
        self._largest: list[float] = []
        self._displaced: list[float] = []
        self._agree: list[float] = []
        self._steps = 0

    def __call__(self, layer: int, inputs: Attention, queries: Queries) -> LayerStatistics:
        """Return the statistics of one layer from every n-th query; at a checked step also measure their error."""

        def statistics(stride: int) -> LayerStatistics:
            return attention_statistics(inputs, queries.valid, queries.masked, self._chunk, self._buffers, stride)

        found = statistics(self._stride)
        if self.check:
            self._steps += layer == 0
            self._compare(found.received, statistics(1).received)
        return found

    def error(self) -> dict[str, Any]:
        """Return the error of received attention over the checked steps and all layers and heads.

        largest: largest absolute difference. displaced: mean over heads of half the sum of absolute differences, the
        fraction of attention that is attributed to a wrong position. dominant_agreement: fraction of heads whose
        dominant position is the same.
        """
        return {
            "stride": self._stride,
            "checked_steps": self._steps,
            "largest": max(self._largest, default=0.0),
            "displaced": _mean(self._displaced),
            "dominant_agreement": _mean(self._agree),
        }

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, JSON-able."""
        names = ("_largest", "_displaced", "_agree")
        return {name[1:]: getattr(self, name) for name in names} | {"steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another one was.

        Raises:
            ValueError, TypeError, KeyError: it is no such state.
        """
        self._largest, self._displaced, self._agree = (
            [float(value) for value in state[name]] for name in ("largest", "displaced", "agree")
        )
        self._steps = int(state["steps"])

    def _compare(self, estimate: Tensor, exact: Tensor) -> None:
        apart = (estimate - exact).abs()
        self._largest.append(float(apart.max()))
        self._displaced.append(float(apart.sum(-1).mean() / 2))
        self._agree.append(float((estimate.argmax(-1) == exact.argmax(-1)).to(torch.float32).mean()))


def _mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)
