"""The order of importance of a model's units, which an elastic checkpoint keeps beside its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...choices.methods import METHODS
from ...errors import InvalidInput
from ...models.resizing.elastic import UNITS
from ...models.resizing.units import supported_units
from ...progress import ProgressCallback, silent
from ..scoring import head_ranking
from ..scoring.inputs import Inputs
from .preparation import calibration_of, check_method
from .removal import measured_unit_scores

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel
    from ...specs import ElasticSpec


def importance_order(model: LoadedModel, spec: ElasticSpec, progress: ProgressCallback = silent) -> dict[str, Any]:
    """Return the content of `FILE`: {"method", "units": {unit: its units by layer, the most important first}}.

    The first unit of every group of near-duplicate heads comes before the second of any, so that no group is lost
    early.

    Raises:
        InvalidInput: a model that neither heads nor channels can be taken out of.
    """
    known = [unit for unit in UNITS if unit in supported_units(model.info)]
    if not known:
        raise InvalidInput(
            f"{model.info.title} has no heads or channels that can be taken out, so it can't be elastic; it supports "
            "prune with patterns unstructured and N:M."
        )
    method, inputs = METHODS[spec.method], Inputs.of(spec.method, spec)
    check_method(model, method)
    calibration = calibration_of(model, spec, spec.seed) if method.needs_calibration else None
    units: dict[str, list[list[int]]] = {}
    for unit in known:
        groups = head_ranking.duplicates(model, None, spec.seed, progress) if unit == "heads" else []
        scores = measured_unit_scores(model, spec.method, unit, inputs, calibration, None, progress)
        order = [layer.argsort(descending=True, stable=True).tolist() for layer in scores]
        units[unit] = _last_of_groups_first(order, groups, model.info.heads // model.info.kv_heads)
    return {"schema": 1, "method": spec.method, "units": units}


def _last_of_groups_first(order: list[list[int]], groups: list, heads_per_unit: int) -> list[list[int]]:
    """Return the order with the most important unit of every group before all other units, within each layer."""
    index = {(layer, unit): rank for layer, units in enumerate(order) for rank, unit in enumerate(units)}
    stand = set()
    for group in groups:
        members = {(layer, head // heads_per_unit) for layer, head in group}
        stand.add(min(members, key=lambda unit: (index[unit], unit)))
    return [sorted(units, key=lambda unit: (layer, unit) not in stand) for layer, units in enumerate(order)]
