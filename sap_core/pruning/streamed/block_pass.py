"""One pass through all blocks, each loaded once, with the calibration rows' hidden states on disk between them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from ...errors import required
from ...progress import Progress, ProgressCallback
from ..scoring.module_inputs import run_block
from ..scoring.statistics import TokenRows
from .streamed_model import StreamedModel
from .workspace import DiskArray, Workspace


class BlockPass:
    """One pass through the blocks; iterate `layers`, and inside run `batches`.

    Args:
        name: Name of its files in the workspace.
        data: The rows the model sees; None for a pass that reads weights alone.
        rows: Rows per batch.

    Attributes:
        found: Result of each finished block (JSON-able); append one entry per block.
    """

    def __init__(
        self,
        streamed: StreamedModel,
        work: Workspace,
        name: str,
        data: TokenRows | None = None,
        rows: int = 1,
        progress: ProgressCallback | None = None,
    ) -> None:
        self.streamed, self.work, self.name = streamed, work, name
        self.data, self.rows = data, rows
        self.found: list[Any] = work.done(name)
        self.total = len(streamed.blocks)
        self._progress = progress or (lambda report: None)
        self._calls: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self._layer = 0
        self._block: nn.Module | None = None

    def layers(self) -> Iterator[int]:
        """Yield every block that is not finished, in order, with its weights loaded; the next one is read meanwhile.

        The result of the loop's body is kept when it ends normally: a block that was interrupted is processed again by
        the next pass of the same name. Whether gradients are kept is up to the caller.
        """
        first = len(self.found)
        if first < self.total and self.data is not None:
            self._begin(first)
        with ThreadPoolExecutor(1, thread_name_prefix="read-block") as reader:
            due = reader.submit(self.streamed.load, first) if first < self.total else None
            for layer in range(first, self.total):
                state = required(due, "the block that is read").result()
                if layer + 1 < self.total:
                    due = reader.submit(self.streamed.load, layer + 1)
                self._layer = layer
                with self.streamed.block(layer, state) as self._block:
                    yield layer
                if self.data is not None and layer + 1 < self.total:
                    self._hidden(layer + 1).sync()
                self.work.finish(self.name, self.found)
                self._progress(Progress(self.name, layer + 1, self.total))
        for parity in (0, 1):
            self.work.drop(f"{self.name}.{parity}")

    @property
    def _texts(self) -> TokenRows:
        return required(self.data, "the texts of the pass")

    def batches(self) -> Iterator[tuple[slice, Tensor, dict[str, Any]]]:
        """Yield (row slice, the block's input [B, S, width], the block's other arguments) of every batch."""
        hidden = self._hidden(self._layer)
        count = len(self._texts.tokens)
        for part, length in self._texts.parts(self.rows):
            x = hidden.read(part.start, part.stop)[:, :length].to(self.streamed.model.device)
            yield part, x, self._calls[len(x), length][self._layer]
            message = f"block {self._layer + 1} of {self.total}, texts {part.stop} of {count}"
            self._progress(Progress(self.name, self._layer, self.total, message))

    def run(self, x: Tensor, call: dict[str, Any]) -> Tensor:
        """Return the block's output for one batch."""
        return run_block(required(self._block, "the block"), x, call)

    def put(self, part: slice, output: Tensor) -> None:
        """Write a batch's output as the next block's input."""
        if self._layer + 1 < self.total:
            self._write(self._layer + 1, part, output)

    def _write(self, layer: int, part: slice, x: Tensor) -> None:
        """Write a block's input [B, length, width], padded to the row width on disk."""
        self._hidden(layer).write(part.start, pad(x, (0, 0, 0, self._texts.tokens.shape[1] - x.shape[1])))

    def _begin(self, layer: int) -> None:
        """Compute the blocks' other arguments for each shape of a batch and, for the first block, its input."""
        for part, length in self._texts.parts(self.rows):
            shape = part.stop - part.start, length
            if layer == 0 or shape not in self._calls:
                x, calls = self.streamed.calls(self._texts.tokens[part, :length])
                self._calls.setdefault(shape, calls)
                if layer == 0:
                    self._write(0, part, x)

    def _hidden(self, layer: int) -> DiskArray:
        """Return the inputs of a block, [N, S, width]; two files are used in turn."""
        shape = (*self._texts.tokens.shape, self.streamed.model.info.hidden)
        return self.work.array(f"{self.name}.{layer % 2}", shape, self.streamed.dtype)
