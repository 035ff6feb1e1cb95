"""`prune` and `plan_pruning`: dispatch a spec or its fields to the strategy that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models.inspection import inspect_model
from ..progress import ProgressCallback, silent
from ..specs import ProgressivePruneSpec, PruneOptions, PruneSpec, SearchPruneSpec, asked_spec
from .planning.defaults import prune_spec_of
from .planning.make_plan import make_plan
from .planning.plan import PruningPlan
from .scoring.calibration import Calibration
from .strategies.direct import prune_directly
from .strategies.preparation import calibration_of, loaded, measured_plan, measures, needs_texts
from .strategies.progressive import prune_within_budget
from .strategies.report import Pruned
from .strategies.search import prune_by_search

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel


def prune(
    model: LoadedModel | str,
    *,
    spec: PruneOptions | None = None,
    plan: PruningPlan | None = None,
    texts: Calibration | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> Pruned:
    """Return a pruned copy of ``model``; the model itself is unchanged.

    Args:
        model: A `LoadedModel`, or what `load_model` takes.
        spec: The settings; or give its fields instead.
        plan: A plan to follow, as returned by `plan_pruning`, possibly edited, or that of an earlier pruning; its
            sparsities are followed matrix by matrix.
        texts: Calibration data in place of the spec's source.
        progress: Called after every unit of work.
        **fields: Fields of a spec: method, sparsity, pattern, calibration, samples, seed ... Without a method, the one
            that measured best is used (`planning.defaults`). With ``budget`` the pruning is progressive
            (`prune_progressively`), with ``preset`` or ``target_speedup`` it is a search (`SinkAwarePruner.prune`).

    Raises:
        InvalidInput: the request can't be carried out; raised before any long work.
        NoSuchPlan: a search found no shape that is fast enough and good enough; names the nearest.
        Cancelled: from ``progress``; the copy is dropped.
    """
    if plan is not None and spec is None:
        fields = {"method": plan.method, "pattern": plan.pattern, "sparsity": plan.sparsity} | fields
    asked: Any = asked_spec(prune_spec_of(model), model, spec, fields)
    if isinstance(asked, SearchPruneSpec):
        return prune_by_search(model, asked, plan, texts, progress)
    if isinstance(asked, ProgressivePruneSpec) and (plan is None or plan.pending):
        return prune_within_budget(model, asked, texts, progress)
    return prune_directly(model, asked, plan, texts, progress)


def plan_pruning(
    model: LoadedModel | str,
    *,
    spec: PruneOptions | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> PruningPlan:
    """Return the plan of what `prune` with the same arguments would remove.

    Only the model's headers are read, except where the plan depends on a measurement: method `heads` without a run or
    chosen heads, and allocations that measure.

    Raises:
        InvalidInput: as `prune`.
    """
    asked: Any = asked_spec(prune_spec_of(model), model, spec, fields)
    looks = not isinstance(asked, SearchPruneSpec) and needs_texts(asked)
    if looks:
        asked.calibration_source.check()
    if isinstance(asked, PruneSpec) and measures(asked):
        dense = loaded(model, asked)
        return measured_plan(dense, asked, calibration_of(dense, asked, asked.seed) if looks else None, progress)
    if isinstance(model, str):
        return make_plan(inspect_model(model, **asked.inspecting), asked)
    return make_plan(model.info, asked)
