"""Read a spec from its JSON document."""

from __future__ import annotations

from typing import Any

from ..errors import UnknownOption
from .ablate import AblateHeadsSpec, AblateSinksSpec
from .attention_map import AttentionMapSpec
from .base import Spec
from .capture import CaptureSpec
from .conventions import ConventionsSpec
from .evaluate import EvaluateSpec
from .export import ElasticSpec, ExportSpec, PushSpec, VerifySpec
from .heal import HealSpec
from .prune import PruneCheckpointSpec
from .prune_strategies import build_prune_spec
from .sweep import SweepSpec


def parse_spec(document: dict[str, Any]) -> Spec:
    """Return the spec of a JSON document (a run's spec.json, a job file), by its ``kind``.

    Raises:
        UnknownOption: no such kind.
        InvalidInput: a field does not fit.
    """
    kind = document.get("kind")
    if kind == "prune":
        return build_prune_spec(**document)
    if kind == "prune_checkpoint":  # older documents name the fields of all strategies
        named = {name: value for name, value in document.items() if value is not None}
        return PruneCheckpointSpec.build(**named)
    known = (
        CaptureSpec,
        EvaluateSpec,
        ExportSpec,
        VerifySpec,
        PushSpec,
        ElasticSpec,
        HealSpec,
        SweepSpec,
        AttentionMapSpec,
        ConventionsSpec,
        AblateSinksSpec,
        AblateHeadsSpec,
    )
    kinds = {cls.model_fields["kind"].default: cls for cls in known}
    if kind not in kinds:
        raise UnknownOption("kind of spec", kind, ["prune", "prune_checkpoint", *kinds])
    return kinds[kind].build(**document)
