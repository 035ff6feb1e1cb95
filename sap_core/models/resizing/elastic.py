"""Elastic checkpoints: whole weights with the order of importance of their units, cut to size when they are loaded.

``sap_elastic.json`` beside the weights lists, per layer, heads (key-value groups) and channels from the most to the
least important. Loading with ``keep=0.7`` takes the first 70 % of each: one file serves several machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInput, ModelProblem
from ...untrusted import MIB, foreign, is_file, read_json
from .remove_units import remove_units
from .units import ELASTIC, layer_units, remaining_shape

if TYPE_CHECKING:
    from ..loaded import LoadedModel

FILE = ELASTIC
UNITS = ("heads", "channels")


def cut(model: LoadedModel, keep: float) -> LoadedModel:
    """Return ``model``, loaded from an elastic checkpoint, with the fraction ``keep`` of its heads and channels.

    Raises:
        InvalidInput: a fraction outside (0, 1]; a folder without an order, or with that of another model.
    """
    if not 0 < keep <= 1:
        raise InvalidInput(f"keep is {keep:g}; expected a share in (0, 1], such as 0.7.")
    document = _order(model.info.folder / FILE)
    if not isinstance(document, dict) or "units" not in document:
        raise InvalidInput(
            f"{model.info.ref} is no elastic checkpoint (no {FILE}), so keep says nothing; leave it out, or write one "
            "with `sap elastic`."
        )
    with foreign(f"{FILE} of {model.info.ref} is damaged", "; write it again with `sap elastic`"):
        return _cut(model, document["units"], keep)


def _cut(model: LoadedModel, units: dict[str, Any], keep: float) -> LoadedModel:
    for unit, order in units.items():
        counts = layer_units(model.info, unit)
        if [len(layer) for layer in order] != counts or any(
            sorted(layer) != list(range(len(layer))) for layer in order
        ):
            raise InvalidInput(f"{FILE} of {model.info.ref} lists other {unit} than the weights have; write it again.")
        left = [max(1, round(count * keep)) for count in counts]
        removed = [sorted(layer[stay:]) for layer, stay in zip(order, left, strict=True)]
        if any(removed):
            shape = remaining_shape(model.info, unit, [len(layer) for layer in removed])
            model = remove_units(model, unit, removed, shape)
    return model


def _order(path: Path) -> Any:
    """Return the document in ``path``, or None if there is none."""
    return read_json(path, path.name, limit=64 * MIB, problem=ModelProblem) if is_file(path) else None
