"""Prune block by block, from a checkpoint's files to those of another: one block in memory, the next being read.

The result is what `sap_core.pruning.strategies.removal` computes on a model in memory, in the same batches: the weights
are the same bit for bit on the same machine.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...choices.allocations import ALLOCATIONS
from ...choices.methods import METHODS
from ...errors import required
from ...progress import ProgressCallback
from ..planning.make_plan import make_plan
from ..planning.plan import PruningPlan
from ..scoring.dense_statistics import statistic_of
from ..scoring.head_ranking import rank_from_run, zero_heads
from ..scoring.inputs import Inputs, calibration_rows, weighted_rows
from ..scoring.module_inputs import inputs_of
from ..scoring.statistics import (
    ROWS_AT_ONCE,
    Phi,
    RootMeanSquare,
    Statistic,
    TokenRows,
    add_batch,
    rows_at_once,
)
from ..strategies.layer_importance import head_stability, outlier_share
from ..strategies.preparation import chooses_heads, head_facts
from ..strategies.removal import prune_block
from ..strategies.report import matrix_row
from .block_pass import BlockPass
from .sinks import streamed_sink_shares
from .tensors import StoredWeights, WeightsWriter

if TYPE_CHECKING:
    from ...specs import PruneSpec
    from ..scoring.calibration import Calibration
    from .streamed_model import StreamedModel
    from .workspace import Workspace


def streamed_plan(
    streamed: StreamedModel,
    spec: PruneSpec,
    calibration: Calibration | None,
    work: Workspace,
    progress: ProgressCallback,
) -> PruningPlan:
    """Return the plan; allocation owl first measures the dense model in a pass of its own.

    Raises:
        InvalidInput: as `make_plan`.
    """
    info = streamed.model.info
    ranking, groups = head_facts(streamed.model, spec, progress) if chooses_heads(spec) else (None, [])
    measured = None
    needs = ALLOCATIONS[spec.allocation].needs
    if needs == "capture":
        measured = head_stability(rank_from_run(required(spec.run, "run")))
    elif needs == "inputs":
        measured = _outlier_shares(streamed, required(calibration, "calibration"), work, progress)
    return make_plan(info, spec, ranking, measured, groups)


@torch.no_grad()
def prune_blocks(
    streamed: StreamedModel,
    spec: PruneSpec,
    plan: PruningPlan,
    calibration: Calibration | None,
    work: Workspace,
    writer: WeightsWriter,
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Write the pruned checkpoint's weights; return the planned matrices as they are now, as in a report.

    Continues where an earlier call with the same ``work`` was interrupted.
    """
    _copy_around(streamed, work, writer)
    method, model, inputs = METHODS[plan.method], streamed.model, Inputs.of(spec.method, spec)
    data, rows, sequential = None, 1, False
    if method.needs_calibration:
        sequential = spec.sequential
        modules = model.linears(0) if sequential else _all_linears(streamed)
        texts = required(calibration, "calibration")
        rows = rows_at_once(texts.tokens.shape[1], modules.values())
        data = _data(streamed, inputs, texts, work, rows, sequential, progress)
    stage = BlockPass(streamed, work, "prune", data, rows, progress)
    for layer in stage.layers():
        statistic = statistic_of(method.score, inputs)
        result = {} if data is None else measure(stage, layer, data, statistic, put=not sequential)
        if method.ranks_heads:
            zero_heads(model, [head for head in plan.heads if head[0] == layer])
        else:
            prune_block(model, layer, result, plan, spec.seed, spend=True)
        if sequential and layer + 1 < stage.total:
            for part, x, call in stage.batches():
                stage.put(part, stage.run(x, call))
        state = model.blocks[layer].state_dict()
        for name, key in streamed.stored[layer].items():
            writer.write(key, state[name])
        writer.sync()
        linears = model.linears(layer)
        stage.found.append([matrix_row(m, linears[m.name].weight) for m in plan.matrices if m.layer == layer])
    return [row for rows in stage.found for row in rows]


def measure(stage: BlockPass, layer: int, data: TokenRows, statistic: Statistic, *, put: bool) -> dict[str, Tensor]:
    """Return the statistic of each matrix of the loaded block, by name.

    ``put``: write the block's outputs as the next block's inputs.
    """
    modules = stage.streamed.model.linears(layer)
    result = {name: statistic() for name in modules}
    for part, x, call in stage.batches():
        with inputs_of(modules) as inputs:
            output = stage.run(x, call)
            if put:
                stage.put(part, output)
            del output
            add_batch(result, inputs, data.weights[part, : x.shape[1]])
    return {name: one.result() for name, one in result.items()}


def written_weights(written: StoredWeights, names: dict[str, str]) -> tuple[str, dict[str, int]]:
    """Return (`weights_sha256` of the written model, its size as `model_size` has it).

    ``names``: native name -> stored name; a tensor that is stored once counts once.
    """
    digest, counted = hashlib.sha256(), set()
    size = {"parameters": 0, "nonzero_parameters": 0, "bytes": 0}
    for native, key in sorted(names.items()):
        tensor = written.places[key].tensor
        digest.update(f"{native} {tuple(tensor.shape)} torch.{tensor.dtype}".encode())
        new = key not in counted
        for chunk in written.pieces(key):
            digest.update(chunk.view(torch.uint8).numpy().tobytes())
            size["nonzero_parameters"] += int(torch.count_nonzero(chunk)) if new else 0
        size["parameters"] += tensor.numel if new else 0
        size["bytes"] += tensor.bytes if new else 0
        counted.add(key)
    return digest.hexdigest(), size


def _data(
    streamed: StreamedModel,
    inputs: Inputs,
    calibration: Calibration,
    work: Workspace,
    rows: int,
    sequential: bool,
    progress: ProgressCallback,
) -> TokenRows:
    """Return the calibration rows with token weights, in the batches in which the in-memory engine computes phi."""
    model = streamed.model
    if inputs.sinks == "each" and not sequential:
        data, _ = calibration_rows(model, inputs, calibration)
        return data.weighted(1 - streamed_sink_shares(streamed, work, data, rows, inputs.phi, progress))

    def shares_of(_: Any, seen: TokenRows, phi: Phi, progress: ProgressCallback) -> Tensor:
        return streamed_sink_shares(streamed, work, seen, ROWS_AT_ONCE, phi, progress)

    return weighted_rows(model, inputs, calibration, progress, sink_shares=shares_of)


@torch.no_grad()
def _outlier_shares(
    streamed: StreamedModel, calibration: Calibration, work: Workspace, progress: ProgressCallback
) -> list[float]:
    """Return `sap_core.pruning.strategies.layer_importance.outlier_shares`, measured in a pass of its own."""
    model = streamed.model
    data, _ = calibration_rows(model, Inputs(), calibration)
    rows = rows_at_once(data.tokens.shape[1], _all_linears(streamed).values())
    stage = BlockPass(streamed, work, "outliers", data, rows, progress)
    for layer in stage.layers():
        norms = measure(stage, layer, data, RootMeanSquare, put=True)
        stage.found.append(outlier_share(model.linears(layer), norms))
    return stage.found


def _copy_around(streamed: StreamedModel, work: Workspace, writer: WeightsWriter) -> None:
    """Create the files and copy everything that is in no block."""
    if work.done("around"):
        return
    writer.create()
    inside = {key for stored in streamed.stored for key in stored.values()}
    for key in streamed.weights.places:
        if key not in inside:
            writer.copy(key)
    writer.sync()
    work.finish("around", [len(streamed.weights.places)])


def _all_linears(streamed: StreamedModel) -> dict[str, torch.nn.Linear]:
    model = streamed.model
    return {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}


def disk_needed(streamed: StreamedModel, inputs: Inputs, calibration: Calibration | None, weights: int) -> int:
    """Return the bytes that the result and everything in between need at most."""
    info = streamed.model.info
    if calibration is None:
        return weights
    hidden = 2 * calibration.tokens.size * info.hidden * streamed.dtype.itemsize
    if inputs.kind == "noised" or inputs.sinks != "none":
        hidden *= inputs.levels
    received = calibration.tokens.size * inputs.levels * info.layers * info.heads * 4
    return weights + hidden + (received if inputs.sinks != "none" else 0)
