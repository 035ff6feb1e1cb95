"""From a JSON document back to the spec that it stands for."""

from __future__ import annotations

from typing import Any

from ..errors import UnknownOption
from .attention_map import AttentionMapSpec
from .base import Spec
from .capture import CaptureSpec
from .evaluate import EvaluateSpec
from .export import ElasticSpec, ExportSpec, PushSpec
from .prune import PruneCheckpointSpec, PruneSpec
from .sweep import SweepSpec


def parse_spec(document: dict[str, Any]) -> Spec:
    """The spec a JSON document (a run's spec.json, a job file) stands for, by its ``kind``.

    Raises:
        UnknownOption: no such kind.
        InvalidInput: a field does not fit.
    """
    known = (
        CaptureSpec,
        PruneSpec,
        PruneCheckpointSpec,
        EvaluateSpec,
        ExportSpec,
        PushSpec,
        ElasticSpec,
        SweepSpec,
        AttentionMapSpec,
    )
    kinds = {cls.model_fields["kind"].default: cls for cls in known}
    kind = document.get("kind")
    if kind not in kinds:
        raise UnknownOption("kind of spec", kind, kinds)
    return kinds[kind].build(**document)
