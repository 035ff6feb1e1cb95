"""The sink weight of each token on a model that is never whole in memory: a separate pass before the pruning.

phi needs the attention a position gets in all layers and heads of one forward pass. So every layer's part is kept on
disk, [N, H, S] each, and added up at the end, in the order in which the whole model's would be.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...attention.attention_rows import Attention, Buffers
from ...attention.hooks import interface_route
from ...attention.kernel_dispatch import attention_statistics
from ...progress import ProgressCallback
from ..scoring.statistics import Phi, TokenRows
from .block_pass import BlockPass
from .streamed_model import StreamedModel
from .workspace import Workspace

STAGE = "sinks"


@torch.no_grad()
def streamed_sink_shares(
    streamed: StreamedModel, work: Workspace, data: TokenRows, rows: int, phi: Phi, progress: ProgressCallback
) -> Tensor:
    """Return phi [N, S] of the rows of ``data`` on the dense model; 0 beyond a row's length.

    ``rows``: texts per batch.
    """
    model = streamed.model
    stage = BlockPass(streamed, work, STAGE, data, rows, progress)
    count, width = data.tokens.shape
    received = work.array("received", (stage.total * count, model.info.heads, width), torch.float32)
    watch = _Watch(model.info.mask_token_id)
    with interface_route(watch, model.module, {part: layer for layer, part in enumerate(model.attentions)}):
        for layer in stage.layers():
            for part, x, call in stage.batches():
                watch.tokens = data.tokens[part, : x.shape[1]]
                output = stage.run(x, call)
                received.write(layer * count + part.start, pad(watch.received, (0, width - x.shape[1])))
                stage.put(part, output)
            received.sync()
            stage.found.append(layer)
    shares = torch.zeros_like(data.weights)
    for part, length in data.parts(rows):
        layers = [received.read(layer * count + part.start, layer * count + part.stop) for layer in range(stage.total)]
        shares[part, :length] = phi(torch.stack(layers, 1)[..., :length]).to(shares.device)
    return shares


class _Watch:
    """The recorder that the hooks of `sap_core.attention.hooks` report the running block's attention to."""

    listening = True

    def __init__(self, mask_id: int | None) -> None:
        self.tokens = torch.empty(0)
        self.received = torch.empty(0)
        self._mask_id = mask_id
        self._buffers = Buffers()

    def record(self, index: Any, inputs: Attention) -> None:
        valid = torch.ones(self.tokens.shape, dtype=torch.bool, device=inputs.query.device)
        masked = (self.tokens == self._mask_id).to(valid.device) if self._mask_id is not None else ~valid
        self.received = attention_statistics(inputs, valid, masked, buffers=self._buffers).received

    def edit(self, inputs: Attention, value: Any) -> None:
        """Change nothing."""
