"""Direct pruning: prepare, remove what the plan says, report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...choices.methods import METHODS
from ...choices.quantizers import NONE, SOLVER
from ...models.packing import Quantized
from ...progress import ProgressCallback, silent
from ...specs import PruneSpec, SparsityOptions
from ..scoring.inputs import Inputs
from .preparation import head_facts, prepare
from .quantize import grid_of_model, mark_quantized, quantization_report, quantize_model
from .removal import Recipe, Removal, remove
from .report import Pruned, report_of

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel
    from ..planning.plan import PruningPlan
    from ..scoring.calibration import Calibration


def prune_directly(
    model: LoadedModel | str,
    spec: SparsityOptions,
    plan: PruningPlan | None = None,
    texts: Calibration | None = None,
    progress: ProgressCallback = silent,
) -> Pruned:
    """Return a pruned copy of ``model`` by one method in one pattern; the model itself is unchanged.

    Args:
        model: A `LoadedModel`, or what `load_model` takes.
        spec: The settings.
        plan: A plan to follow instead of the one that the spec makes.
        texts: Calibration data in place of the spec's source.
        progress: Called after every unit of work.

    Raises:
        InvalidInput: the request can't be carried out; raised before any long work.
    """
    started = time.perf_counter()
    dense, plan, calibration = prepare(model, spec, plan, texts, progress)
    ranking, groups, compensate = None, [], "none"
    if isinstance(spec, PruneSpec):  # a progressive pruning, made again from its plan, takes no units
        compensate = spec.compensate
        ranking, groups = head_facts(dense, spec, progress) if spec.pattern == "heads" else (None, [])
    quantize, by = (spec.quantize, spec.quantize_by) if isinstance(spec, PruneSpec) else (NONE, SOLVER)
    joint = None
    if quantize != NONE and by == SOLVER and METHODS[spec.method].score == "sparsegpt":
        joint = Quantized(grid_of_model(dense, quantize))
    recipe = Recipe(Inputs.of(spec.method, spec), spec.sequential, compensate, joint)
    pruned, decided = remove(Removal(dense, dense.clone(), plan, recipe, calibration, progress, ranking, groups))
    if joint is not None:
        mark_quantized(pruned, joint)
    elif quantize != NONE:
        how = {"levels": spec.noise_levels, "seed": spec.seed, "progress": progress}
        quantize_model(pruned, quantize, by, calibration, **how)
    if quantize != NONE:
        decided |= {"quantized": quantization_report(pruned, quantize, by)}
    report = report_of(pruned, plan, calibration, time.perf_counter() - started) | decided
    return Pruned(pruned, plan, spec, report)
