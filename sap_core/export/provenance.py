"""What was done to a model before it is exported: pruned, healed; also in earlier exports that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SapError
from ..healing.api import Healed
from ..models.loaded import LoadedModel
from ..pruning.strategies.report import Pruned
from ..runs.files import read_json
from ..specs import HealSpec, PruneOptions, parse_spec
from .card import healing_section, pruning_section

MANIFEST = "sap_manifest.json"


@dataclass(frozen=True)
class Provenance:
    """What was done, as the manifest and the model card state it.

    Attributes:
        pruning: {"spec", "plan", "report"}, or None.
        healing: {"spec", "report"}, or None.
    """

    pruning: dict[str, Any] | None = None
    healing: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Return the entries of a manifest."""
        pruning = self.pruning or {"spec": None, "plan": None, "report": None}
        return pruning | ({"healing": self.healing} if self.healing else {})


def provenance_of(source: Pruned | Healed | LoadedModel) -> tuple[LoadedModel, Provenance]:
    """Return the model that is exported, and what was done to it."""
    if isinstance(source, LoadedModel):
        return source, Provenance()
    spec = source.spec.model_dump(mode="json")
    if isinstance(source, Healed):
        before = inherited(source.model.info.folder)
        return source.model, Provenance(before.pruning, {"spec": spec, "report": source.report})
    return source.model, Provenance({"spec": spec, "plan": source.plan.to_dict(), "report": source.report})


def inherited(folder: Path) -> Provenance:
    """Return what the manifest of an export says was done; what can't be read as such is left out."""
    document = read_json(folder / MANIFEST)
    if not isinstance(document, dict):
        return Provenance()
    return Provenance(_pruning(document), _healing(document.get("healing")))


def _pruning(document: dict[str, Any]) -> dict[str, Any] | None:
    try:
        result = {name: document[name] for name in ("spec", "plan", "report")}
        if not isinstance(parse_spec(result["spec"]), PruneOptions):
            return None
        pruning_section(result)
    except (SapError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return result


def _healing(found: Any) -> dict[str, Any] | None:
    try:
        result = {"spec": HealSpec.build(**found["spec"]).model_dump(mode="json"), "report": found["report"]}
        healing_section(result)
    except (SapError, KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return None
    return result
