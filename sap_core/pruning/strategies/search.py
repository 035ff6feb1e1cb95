"""The result of a search as one pruning: its steps joined into one plan and one report, and repeated from the plan."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...choices.strategies import PRESETS
from ...errors import required
from ...evaluation.texts import validation_texts
from ...progress import ProgressCallback, silent
from ...specs import CalibrationOptions, SearchPruneSpec
from ..planning.plan import PlannedMatrix, PruningPlan
from ..scoring.calibration import Calibration
from .preparation import loaded
from .report import Pruned, report_of
from .shape_search import Candidate, ShapeSearch

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel

ALLOWED_DROP = 0.05


def prune_by_search(
    model: LoadedModel | str,
    spec: SearchPruneSpec,
    plan: PruningPlan | None = None,
    texts: Calibration | None = None,
    progress: ProgressCallback = silent,
) -> Pruned:
    """Search for the shape that the spec's preset or target asks for, and return the pruned model.

    ``plan``: of an earlier search; its result is made again without searching.

    Raises:
        InvalidInput: a model that can't be timed, or that no units can be taken out of.
        NoSuchPlan: target and quality can't both be met.
    """
    started = time.perf_counter()
    dense = loaded(model, spec)
    handed = (*CalibrationOptions.model_fields, "run", "duplicates", "seed")
    fields = {name: getattr(spec, name) for name in handed}
    validation = validation_texts(dense, spec)
    search = ShapeSearch(dense, spec.method, fields, validation, texts, progress)
    if plan is not None and plan.taken:
        chosen, tried = Candidate(**dict(plan.taken)), []
        steps = search.built(chosen)
    elif spec.preset is not None:
        chosen, steps, tried = search.choose(spec.preset)
    else:
        allowed = ALLOWED_DROP if spec.quality_drop is None else spec.quality_drop
        chosen, steps, tried = search.meet(required(spec.target_speedup, "target_speedup"), allowed)
    result = joined(dense, spec, chosen, steps, tried, time.perf_counter() - started)
    result.report["search"]["validation"] = validation.describe()
    return result


def joined(
    dense: LoadedModel,
    spec: SearchPruneSpec,
    chosen: Candidate,
    steps: list[Pruned],
    tried: list[Candidate],
    seconds: float,
) -> Pruned:
    """Return the steps as one pruning of the dense model, with all shapes tried in the report under "search"."""
    last = steps[-1]
    plan = _joined_plan(dense, spec, chosen, steps)
    report = report_of(last.model, plan, None, seconds) | {"calibration": last.report["calibration"]}
    report["removed"] = [step.report["removed"] for step in steps]
    report["search"] = {
        "rule": _rule(spec),
        "chosen": chosen.__dict__,
        "tried": [candidate.__dict__ for candidate in tried],
    }
    return Pruned(last.model, plan, spec, report)


def _joined_plan(dense: LoadedModel, spec: SearchPruneSpec, chosen: Candidate, steps: list[Pruned]) -> PruningPlan:
    """Return the plans of all steps as one.

    Heads and channels are removed from different matrices, so each matrix has the zeros of the step that changed it.
    """
    taken = [{m.name: m for m in step.plan.matrices if m.zeros} for step in steps]
    rows = []
    for m in dense.info.matrices:
        result = next((step[m.name] for step in taken if m.name in step), None)
        zeros = result.zeros if result else 0
        rows.append(PlannedMatrix(m.name, m.layer, m.rows, m.cols, zeros / (m.rows * m.cols), zeros))
    pattern = "+".join(chosen.units())
    fraction = sum(m.zeros for m in rows) / sum(m.rows * m.cols for m in rows)
    return replace(
        steps[-1].plan,
        method=spec.method,
        pattern=pattern,
        sparsity=fraction,
        compare=pattern,
        matrices=tuple(rows),
        parameters=dense.info.parameters,
        taken=tuple(chosen.units().items()),
    )


def _rule(spec: SearchPruneSpec) -> dict[str, Any]:
    if spec.preset is None:
        allowed = ALLOWED_DROP if spec.quality_drop is None else spec.quality_drop
        return {"target_speedup": spec.target_speedup, "quality_drop": allowed}
    preset = PRESETS[spec.preset]
    return {"preset": preset.name, "cost": preset.cost, "quality": preset.quality, "help": preset.help}
