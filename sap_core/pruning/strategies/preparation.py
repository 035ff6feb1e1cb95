"""What every strategy prepares before weights are changed: spec, model, calibration, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...choices.allocations import ALLOCATIONS, looks_at_texts
from ...choices.methods import METHODS, Method
from ...choices.quantizers import SOLVER
from ...errors import InvalidInput, required
from ...evaluation.tasks import knows_stories
from ...evaluation.texts import encoder_of
from ...models.inspection import inspect_model
from ...models.loading import load_model
from ...models.packing import check_packable
from ...models.resizing.units import has_even_heads
from ...progress import ProgressCallback, silent
from ...specs import CalibrationOptions, ModelOptions, PruneSpec, SparsityOptions
from ..planning.make_plan import make_plan
from ..planning.memory_check import check_room
from ..planning.plan import PruningPlan
from ..planning.redundant_heads import IGNORE, Group
from ..scoring import head_ranking
from ..scoring.calibration import Calibration, read_calibration
from ..scoring.inputs import Inputs
from . import layer_importance

if TYPE_CHECKING:
    import pandas as pd

    from ...models.info import ModelInfo
    from ...models.loaded import LoadedModel


def prepare(
    model: LoadedModel | str,
    spec: SparsityOptions,
    plan: PruningPlan | None = None,
    texts: Calibration | None = None,
    progress: ProgressCallback = silent,
) -> tuple[LoadedModel, PruningPlan, Calibration | None]:
    """Check the request, cheapest checks first, and return the loaded model, the plan, and the calibration texts.

    Raises:
        InvalidInput: as `prune`.
    """
    looks = needs_texts(spec)
    if looks and texts is None:
        spec.calibration_source.check()
    dense = loaded(model, spec)
    check_method(dense, METHODS[spec.method])
    if isinstance(spec, PruneSpec):
        solves = spec.quantize != "none" and spec.quantize_by == SOLVER
        if (spec.compensate == "weights" or solves) and dense.is_diffusion and dense.info.row.has_mask:
            dense.check_masked()
        if spec.quantize != "none":
            check_packable(dense)
    calibration = (texts or calibration_of(dense, spec, spec.seed)) if looks else None
    if plan is not None and not plan.pending:
        check_plan(plan, dense.info, spec.method, spec.pattern)
        return dense, plan, calibration
    if isinstance(spec, PruneSpec):
        return dense, measured_plan(dense, spec, calibration, progress), calibration
    return dense, make_plan(dense.info, spec), calibration


def loaded(model: LoadedModel | str, options: ModelOptions) -> LoadedModel:
    """Return the model itself, or load the one that a name stands for as the options say."""
    if not isinstance(model, str):
        return model
    check_room(inspect_model(model, **options.inspecting), options.dtype, options.device)
    return load_model(model, **options.loading)


def check_method(model: LoadedModel, method: Method) -> None:
    """Raise InvalidInput if ``method`` does not fit the model's objective or tokenizer."""
    model.info.check_prunable()
    if (method.sinks != "none" or method.ranks_heads) and not has_even_heads(model.info):
        raise InvalidInput(
            f"method '{method.name}' looks at attention head by head, but the layers of {model.info.ref} have "
            "different numbers of heads; use a method that looks at inputs or weights, such as noised_wanda or wanda."
        )
    if not method.needs_mask_token:
        return
    if model.is_diffusion:
        if model.info.row.has_mask:
            model.check_masked()
    elif method.name in _NEEDS_NOISE:
        raise InvalidInput(
            f"method '{method.name}' compares levels of masking, which an autoregressive model never sees; "
            f"use {_NEEDS_NOISE[method.name]}."
        )


# Methods that say nothing of their own about clean text, and what says the same there.
_NEEDS_NOISE = {"noised_wanda": "wanda", "noised_sparsegpt": "sparsegpt", "sink_temporal": "sink"}


def needs_texts(spec: SparsityOptions) -> bool:
    """Return whether the pruning reads calibration texts."""
    if isinstance(spec, PruneSpec):
        return looks_at_texts(spec.method, spec.allocation, spec.compensate, spec.quantize, spec.quantize_by)
    return looks_at_texts(spec.method)


def measures(spec: PruneSpec) -> bool:
    """Return whether the plan depends on more than the shapes of the model."""
    return bool(ALLOCATIONS[spec.allocation].needs) or chooses_heads(spec)


def chooses_heads(spec: PruneSpec) -> bool:
    """Return whether the plan follows the ranking of heads, and not heads chosen by hand."""
    return METHODS[spec.method].ranks_heads and spec.pattern == "unstructured" and spec.heads is None


def head_facts(
    dense: LoadedModel, spec: PruneSpec, progress: ProgressCallback = silent
) -> tuple[pd.DataFrame | None, list[Group]]:
    """Return (the ranking of heads, if the method follows it, groups of near-duplicates of which one is kept)."""
    run, seed = spec.run, spec.seed
    ranking = head_ranking.ranking(dense, run, seed, progress) if METHODS[spec.method].ranks_heads else None
    if spec.method == "measured":
        run = None  # it holds no attention: which heads attend alike is looked at on a short text
    groups = [] if spec.duplicates == IGNORE else head_ranking.duplicates(dense, run, seed, progress)
    return ranking, groups


def measured_plan(
    dense: LoadedModel, spec: PruneSpec, calibration: Calibration | None, progress: ProgressCallback
) -> PruningPlan:
    """Return the plan after measuring, on the dense model, everything that it depends on."""
    needs, inputs = ALLOCATIONS[spec.allocation].needs, Inputs.of(spec.method, spec)
    ranking, groups = head_facts(dense, spec, progress) if chooses_heads(spec) else (None, [])
    measured = None
    if needs == "capture":
        measured = layer_importance.head_stability(head_ranking.ranking(dense, spec.run, spec.seed, progress))
    elif needs == "inputs":
        with dense.calibrating():
            measured = layer_importance.outlier_shares(dense, required(calibration, "calibration"), progress)
    elif needs:
        by_loss = needs == "loss"
        measure: Any = layer_importance.loss_increases if by_loss else layer_importance.counts_across_layers
        heads = head_ranking.ranking(dense, spec.run, spec.seed, progress) if METHODS[spec.method].ranks_heads else None
        measured = measure(dense, make_plan(dense.info, spec), inputs, calibration, heads, progress)
    return make_plan(dense.info, spec, ranking, measured, groups)


def check_plan(plan: PruningPlan, info: ModelInfo, method: str, pattern: str) -> None:
    """Raise InvalidInput if a given plan does not belong to this model, method and pattern."""
    if (plan.method, plan.pattern) != (method, pattern):
        raise InvalidInput(
            f"the plan is for {plan.method} {plan.pattern} but {method} {pattern} was asked; make a new plan."
        )
    known = {matrix.name: (matrix.rows, matrix.cols) for matrix in info.matrices}
    for matrix in plan.matrices:
        if known.get(matrix.name) != (matrix.rows, matrix.cols):
            raise InvalidInput(
                f"the plan has {matrix.name} of shape {(matrix.rows, matrix.cols)} but {info.ref} has "
                f"{known.get(matrix.name, 'no such matrix')}; make the plan for this model."
            )


def calibration_of(model: LoadedModel, spec: CalibrationOptions, seed: int) -> Calibration:
    """Return the calibration sequences of a spec.

    Raises:
        InvalidInput: as `read_calibration`.
    """
    return read_calibration(
        spec.calibration_source,
        samples=spec.samples,
        length=spec.calibration_length,
        seed=seed,
        vocab_size=model.info.vocab_size,
        max_length=model.info.max_length,
        encoder=encoder_of(model),
        end_id=model.tokenizer.eos_token_id if knows_stories(model) else None,
        name=model.info.ref,
    )
