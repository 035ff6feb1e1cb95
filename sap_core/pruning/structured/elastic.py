"""Elastic checkpoints: whole weights with the order of importance of their units, cut to size when they are loaded.

``sap_elastic.json`` beside the weights lists, per layer, heads (key-value groups) and channels from the most to the
least important. Loading with ``keep=0.7`` takes the first 70 % of each: one file serves several machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...choices.methods import METHODS
from ...errors import InvalidInput
from ...progress import ProgressCallback, silent
from ...runs.files import read_json
from ..api import calibration_of, check_method, head_facts
from ..planning.units import (
    ELASTIC,
    layer_units,
    remaining_shape,
    supported_units,
)
from ..strategies.direct import measured_unit_scores
from .remove_units import take_out

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel
    from ...specs import ElasticSpec

FILE = ELASTIC
UNITS = ("heads", "channels")


def importance_order(model: LoadedModel, spec: ElasticSpec, progress: ProgressCallback = silent) -> dict[str, Any]:
    """What `FILE` holds: {"method", "units": {unit: per layer its units, the most important first}}.

    The first of every group of near-duplicate heads comes before the second of any, so that none of them is lost early.

    Raises:
        InvalidInput: a model that neither heads nor channels can be taken out of.
    """
    known = [unit for unit in UNITS if unit in supported_units(model.info)]
    if not known:
        raise InvalidInput(
            f"{model.info.title} has no heads or channels that can be taken out, so it can't be elastic; it supports "
            "prune with patterns unstructured and N:M."
        )
    units: dict[str, list[list[int]]] = {}
    for unit in known:
        asked = spec.prune_spec(unit)
        check_method(model, METHODS[asked.method])
        calibration = calibration_of(model, asked) if METHODS[asked.method].needs_calibration else None
        ranking, groups = head_facts(model, asked, progress) if unit == "heads" else (None, [])
        scores = measured_unit_scores(model, asked, calibration, ranking, progress)
        order = [layer.argsort(descending=True, stable=True).tolist() for layer in scores]
        units[unit] = _last_of_groups_first(order, groups, model.info.heads // model.info.kv_heads)
    return {"schema": 1, "method": spec.method, "units": units}


def cut(model: LoadedModel, keep: float) -> LoadedModel:
    """``model``, loaded from an elastic checkpoint, with the share ``keep`` of its heads and channels.

    Raises:
        InvalidInput: a share outside (0, 1]; a folder without an order, or with that of another model.
    """
    if not 0 < keep <= 1:
        raise InvalidInput(f"keep is {keep:g}; expected a share in (0, 1], such as 0.7.")
    document = read_json(Path(model.info.path) / FILE)
    if not isinstance(document, dict) or "units" not in document:
        raise InvalidInput(
            f"{model.info.ref} is no elastic checkpoint (no {FILE}), so keep says nothing; leave it out, or write one "
            "with `sap elastic`."
        )
    for unit, order in document["units"].items():
        counts = layer_units(model.info, unit)
        if [len(layer) for layer in order] != counts or any(
            sorted(layer) != list(range(len(layer))) for layer in order
        ):
            raise InvalidInput(f"{FILE} of {model.info.ref} lists other {unit} than the weights have; write it again.")
        left = [max(1, round(count * keep)) for count in counts]
        gone = [sorted(layer[stay:]) for layer, stay in zip(order, left, strict=True)]
        if any(gone):
            shape = remaining_shape(model.info, unit, [len(layer) for layer in gone])
            model = take_out(model, unit, gone, shape)
    return model


def _last_of_groups_first(order: list[list[int]], groups: list, heads_per_unit: int) -> list[list[int]]:
    """Within every layer, units that stand for a group (its most important one) before all others."""
    place = {(layer, unit): rank for layer, units in enumerate(order) for rank, unit in enumerate(units)}
    stand = set()
    for group in groups:
        members = {(layer, head // heads_per_unit) for layer, head in group}
        stand.add(min(members, key=lambda unit: (place[unit], unit)))
    return [sorted(units, key=lambda unit: (layer, unit) not in stand) for layer, units in enumerate(order)]
