"""From a spec to a pruned copy of a model, and to the plan that says beforehand what will go."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..choices.allocations import ALLOCATIONS, looks_at_texts
from ..choices.methods import METHODS, Method
from ..errors import InvalidInput
from ..progress import ProgressCallback, silent
from ..specs import PruneSpec
from .planning.defaults import with_method
from .planning.plan import PlannedMatrix, PruningPlan, make_plan
from .planning.redundant_heads import Group
from .planning.units import has_even_heads
from .scoring import head_ranking as head_surgery
from .scoring import layer_importance
from .scoring.calibration import Calibration, check_source, read_calibration
from .strategies.direct import remove

if TYPE_CHECKING:
    import pandas as pd

    from ..models.info import ModelInfo
    from ..models.loaded import LoadedModel


@dataclass(frozen=True)
class Pruned:
    """A pruned copy of a model, the plan it followed, the spec it came from, and what was found in its weights."""

    model: LoadedModel
    plan: PruningPlan
    spec: PruneSpec
    report: dict[str, Any]


def prune(
    model: LoadedModel | str,
    *,
    spec: PruneSpec | None = None,
    plan: PruningPlan | None = None,
    texts: Calibration | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> Pruned:
    """A pruned copy of ``model``; the model itself stays as it is.

    Give a ``spec`` or its fields (method, sparsity, pattern, calibration, samples, seed ...); where no method is named
    it is the one that measured best (`planning.defaults`). With a ``budget`` the pruning is progressive
    (`prune_progressively`), with ``preset`` or ``target_speedup`` a search finds what goes (`SinkAwarePruner.prune`).
    ``plan``: as shown by `plan_pruning`, possibly edited, or that of an earlier pruning; its sparsities are followed
    matrix by matrix. ``texts``: calibration data at hand, in the place of the spec's source.

    Raises:
        InvalidInput: anything that can't be done as asked, before any long work.
        NoSuchPlan: a search found no shape that is fast enough and good enough; names the nearest.
        Cancelled: from ``progress``; the copy is dropped.
    """
    started = time.perf_counter()
    if plan is not None and spec is None:
        fields = {"method": plan.method, "pattern": plan.pattern, "sparsity": plan.sparsity} | fields
    spec = spec_of(model, spec, fields)
    if spec.mode == "search":
        from .strategies.search import prune_by_search

        return prune_by_search(model, spec, plan, texts, progress)
    if spec.mode == "progressive" and (plan is None or plan.pending):
        from .strategies.progressive import prune_within_budget

        return prune_within_budget(model, spec, texts, progress)
    dense, spec, plan, calibration = prepare(model, spec, {}, progress, plan, texts)
    ranking, groups = head_facts(dense, spec, progress) if spec.pattern == "heads" else (None, [])
    pruned, decided = remove(dense, dense.clone(), plan, spec, calibration, progress, ranking, groups)
    report = report_of(pruned, plan, calibration, time.perf_counter() - started) | decided
    return Pruned(pruned, plan, spec, report)


def plan_pruning(
    model: LoadedModel | str,
    *,
    spec: PruneSpec | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> PruningPlan:
    """What `prune` with the same arguments would remove. Reads the model's headers only, except where the plan
    follows a measurement: method `heads` without a run or chosen heads, and allocations that measure.

    Raises:
        InvalidInput: as `prune`.
    """
    spec = spec_of(model, spec, fields)
    if needs_texts(spec):
        check_source(spec.calibration)
    if _measures(spec) and spec.mode == "plain":
        dense = loaded(model, spec)
        return _measured_plan(dense, spec, calibration_of(dense, spec) if needs_texts(spec) else None, progress)
    if isinstance(model, str):
        from ..models.info import inspect_model

        return make_plan(inspect_model(model, mask_token_id=spec.mask_token_id), spec)
    return make_plan(model.info, spec)


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
        return dense, spec, _measured_plan(dense, spec, calibration, progress), calibration
    check_plan(plan, dense.info, spec)
    return dense, spec, plan, calibration


def weights_sha256(model: LoadedModel) -> str:
    """One hash over names, shapes, dtypes and bytes of all parameters, sorted by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.module.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().contiguous().cpu().view(torch.uint8).numpy())
    return digest.hexdigest()


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
    from ..models.info import inspect_model
    from ..models.loading import load_model
    from .planning.memory_check import check_room

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


def _measures(spec: PruneSpec) -> bool:
    """Whether the plan depends on more than the shapes of the model."""
    return bool(ALLOCATIONS[spec.allocation].needs) or chooses_heads(spec)


def chooses_heads(spec: PruneSpec) -> bool:
    return spec.method == "heads" and spec.pattern == "unstructured" and spec.heads is None


def head_facts(
    dense: LoadedModel, spec: PruneSpec, progress: ProgressCallback = silent
) -> tuple[pd.DataFrame | None, list[Group]]:
    """(the ranking of heads where the method follows it, groups of near-duplicates of which the last one stays)."""
    ranking = head_surgery.ranking(dense, spec, progress) if spec.method == "heads" else None
    return ranking, head_surgery.duplicates(dense, spec, progress)


def _measured_plan(
    dense: LoadedModel, spec: PruneSpec, calibration: Calibration | None, progress: ProgressCallback
) -> PruningPlan:
    """The plan after whatever it follows has been measured on the dense model."""
    needs = ALLOCATIONS[spec.allocation].needs
    ranking, groups = head_facts(dense, spec, progress) if chooses_heads(spec) else (None, [])
    measured = None
    if needs == "capture":
        measured = layer_importance.head_stability(head_surgery.ranking(dense, spec, progress))
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


def report_of(model: LoadedModel, plan: PruningPlan, calibration: Calibration | None, seconds: float) -> dict[str, Any]:
    """What is really in the weights, counted, beside what was planned."""
    rows = _matrix_rows(model, plan)
    if plan.pattern == "layers":  # those that stay are whole
        left = sum(m.rows * m.cols for m in model.info.matrices)
        weights = plan.totals()["weights"]
        zeros = weights - left
    else:
        weights, zeros = sum(row["rows"] * row["cols"] for row in rows), sum(row["zeros"] for row in rows)
    found = {"sparsity": zeros / max(weights, 1), "matrices": rows, "parameters": model.info.parameters}
    return report_from(plan, found, calibration, weights_sha256(model), seconds)


def report_from(
    plan: PruningPlan, found: dict[str, Any], calibration: Calibration | None, sha256: str, seconds: float
) -> dict[str, Any]:
    """The report of a pruning. ``found`` in the weights: sparsity, matrices, parameters; ``sha256``: as of
    `weights_sha256`."""
    return {
        "method": plan.method,
        "pattern": plan.pattern,
        "allocation": plan.allocation,
        "sparsity": found["sparsity"],
        "matrices": found["matrices"],
        "heads": [list(head) for head in plan.heads],
        "parameters": found["parameters"],
        "calibration": calibration.describe() if calibration else None,
        "weights_sha256": sha256,
        "seconds": round(seconds, 3),
    }


def _matrix_rows(model: LoadedModel, plan: PruningPlan) -> list[dict[str, Any]]:
    """Per planned matrix that is still there: its size before, and how many of its weights are zero or gone."""
    linears = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    return [matrix_row(m, linears[m.name].weight) for m in plan.matrices if m.name in linears]


def matrix_row(planned: PlannedMatrix, weight: torch.Tensor) -> dict[str, Any]:
    """One planned matrix as it is now: its size before, and how many of its weights are zero or gone."""
    left = int(torch.count_nonzero(weight))
    size = planned.rows * planned.cols
    return {
        "name": planned.name,
        "layer": planned.layer,
        "rows": planned.rows,
        "cols": planned.cols,
        "planned_zeros": planned.zeros,
        "zeros": size - left,
        "sparsity": 1 - left / size,
    }
