"""What every strategy needs before weights are touched: spec, model, calibration, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...choices.allocations import ALLOCATIONS, looks_at_texts
from ...choices.methods import METHODS, Method
from ...errors import InvalidInput
from ...models.inspection import inspect_model
from ...models.loading import load_model
from ...models.resizing.units import has_even_heads
from ...progress import ProgressCallback, silent
from ...specs import PruneSpec
from ..planning.defaults import with_method
from ..planning.memory_check import check_room
from ..planning.plan import PruningPlan, make_plan
from ..planning.redundant_heads import Group
from ..scoring import head_ranking
from ..scoring.calibration import Calibration, check_source, read_calibration
from . import layer_importance

if TYPE_CHECKING:
    import pandas as pd

    from ...models.info import ModelInfo
    from ...models.loaded import LoadedModel


def prepare(
    model: LoadedModel | str,
    spec: PruneSpec | None,
    fields: dict[str, Any],
    progress: ProgressCallback = silent,
    plan: PruningPlan | None = None,
    texts: Calibration | None = None,
) -> tuple[LoadedModel, PruneSpec, PruningPlan, Calibration | None]:
    """Everything that has to be there before weights are touched: checks first, cheap before dear.

    Raises:
        InvalidInput: as `prune`.
    """
    spec = spec_of(model, spec, fields)
    if needs_texts(spec) and texts is None:
        check_source(spec.calibration)
    dense = loaded(model, spec)
    check_method(dense, METHODS[spec.method])
    if spec.compensate == "weights" and dense.is_diffusion:
        dense.check_masked()
    calibration = (texts or calibration_of(dense, spec)) if needs_texts(spec) else None
    if plan is None or plan.pending:
        return dense, spec, measured_plan(dense, spec, calibration, progress), calibration
    check_plan(plan, dense.info, spec)
    return dense, spec, plan, calibration


def spec_of(model: LoadedModel | str, spec: PruneSpec | None, fields: dict[str, Any]) -> PruneSpec:
    """The spec that is given, or the one that its fields make. Raises InvalidInput, for both at once too."""
    if spec is not None:
        if fields:
            raise InvalidInput(f"give a spec or its fields, not both ({', '.join(fields)}).")
        return spec
    known = None if isinstance(model, str) else model.info
    return PruneSpec.build(**with_method({"model": known.ref if known else model} | fields, known))


def loaded(model: LoadedModel | str, spec: PruneSpec) -> LoadedModel:
    """The model itself, or the one a name stands for, loaded as the spec says."""
    if not isinstance(model, str):
        return model
    check_room(inspect_model(model, mask_token_id=spec.mask_token_id), spec)
    return load_model(model, **spec.loading)


def check_method(model: LoadedModel, method: Method) -> None:
    model.info.check_prunable()
    if (method.sinks != "none" or method.score == "heads") and not has_even_heads(model.info):
        raise InvalidInput(
            f"method '{method.name}' looks at attention head by head, but the layers of {model.info.ref} have "
            "different numbers of heads; use a method that looks at inputs or weights, such as noised_wanda or wanda."
        )
    if not method.needs_mask_token:
        return
    if model.is_diffusion:
        model.check_masked()
    elif method.name in _NEEDS_NOISE:
        raise InvalidInput(
            f"method '{method.name}' compares levels of masking, which an autoregressive model never sees; "
            f"use {_NEEDS_NOISE[method.name]}."
        )


# Methods that say nothing of their own about clean text, and what says the same there.
_NEEDS_NOISE = {"noised_wanda": "wanda", "noised_sparsegpt": "sparsegpt", "sink_temporal": "sink"}


def needs_texts(spec: PruneSpec) -> bool:
    return looks_at_texts(spec.method, spec.allocation, spec.compensate)


def measures(spec: PruneSpec) -> bool:
    """Whether the plan depends on more than the shapes of the model."""
    return bool(ALLOCATIONS[spec.allocation].needs) or chooses_heads(spec)


def chooses_heads(spec: PruneSpec) -> bool:
    return spec.method == "heads" and spec.pattern == "unstructured" and spec.heads is None


def head_facts(
    dense: LoadedModel, spec: PruneSpec, progress: ProgressCallback = silent
) -> tuple[pd.DataFrame | None, list[Group]]:
    """(the ranking of heads where the method follows it, groups of near-duplicates of which the last one stays)."""
    ranking = head_ranking.ranking(dense, spec, progress) if spec.method == "heads" else None
    return ranking, head_ranking.duplicates(dense, spec, progress)


def measured_plan(
    dense: LoadedModel, spec: PruneSpec, calibration: Calibration | None, progress: ProgressCallback
) -> PruningPlan:
    """The plan after whatever it follows has been measured on the dense model."""
    needs = ALLOCATIONS[spec.allocation].needs
    ranking, groups = head_facts(dense, spec, progress) if chooses_heads(spec) else (None, [])
    measured = None
    if needs == "capture":
        measured = layer_importance.head_stability(head_ranking.ranking(dense, spec, progress))
    elif needs == "inputs":
        measured = layer_importance.outlier_shares(dense, spec, calibration, progress)
    elif needs == "loss":
        measured = layer_importance.loss_increases(dense, spec, calibration, progress)
    elif needs == "scores":
        measured = layer_importance.counts_across_layers(dense, spec, calibration, progress)
    return make_plan(dense.info, spec, ranking, measured, groups)


def check_plan(plan: PruningPlan, info: ModelInfo, spec: PruneSpec) -> None:
    if (plan.method, plan.pattern) != (spec.method, spec.pattern):
        raise InvalidInput(
            f"the plan is for {plan.method} {plan.pattern} but {spec.method} {spec.pattern} was asked; make a new plan."
        )
    known = {matrix.name: (matrix.rows, matrix.cols) for matrix in info.matrices}
    for matrix in plan.matrices:
        if known.get(matrix.name) != (matrix.rows, matrix.cols):
            raise InvalidInput(
                f"the plan has {matrix.name} of shape {(matrix.rows, matrix.cols)} but {info.ref} has "
                f"{known.get(matrix.name, 'no such matrix')}; make the plan for this model."
            )


def calibration_of(model: LoadedModel, spec: PruneSpec) -> Calibration:
    tokenizer = model.tokenizer
    return read_calibration(
        spec.calibration,
        samples=spec.samples,
        length=spec.calibration_length,
        seed=spec.seed,
        vocab_size=model.info.vocab_size,
        max_length=model.info.max_length,
        encode=None if tokenizer is None else model.encode,
        fill_id=getattr(tokenizer, "eos_token_id", None),
        subset=spec.calibration_subset,
        split=spec.calibration_split,
        column=spec.calibration_column,
    )
