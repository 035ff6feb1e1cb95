"""`export_elastic`: write one checkpoint for several machines, cut to size by ``load_model(path, keep=0.7)``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..models.resizing.elastic import FILE
from ..progress import ProgressCallback, silent
from ..pruning.strategies.elastic import importance_order
from ..specs import ElasticSpec, asked_spec
from .checkpoint import ExportReport, check_room, export_checkpoint
from .target import checkpoint_output

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel


def export_elastic(
    model: LoadedModel | str,
    out: str | os.PathLike | None = None,
    *,
    spec: ElasticSpec | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> ExportReport:
    """Write the whole model with the order of importance of its heads and channels.

    Give a ``spec`` or its fields: method, samples, seed, calibration, overwrite, verify ... Any loader of the dense
    model loads the folder whole; ``load_model(out, keep=0.7)`` builds the smaller one.

    Raises:
        InvalidInput: ``out`` can't be written; a model or method that has no heads or channels to order.
        OperationFailed: as `export_checkpoint`.
    """
    if spec is None and out is None:
        raise InvalidInput("No place to write to; give the folder of the result as out.")
    spec = asked_spec(ElasticSpec.build, model, spec, {"out": None if out is None else str(out)} | fields)
    from ..models.loading import as_loaded

    with checkpoint_output(spec.out, overwrite=spec.overwrite) as output:
        model = as_loaded(model, **spec.loading)
        check_room(model, output)
        order = importance_order(model, spec, progress)
        return export_checkpoint(model, output, verify=spec.verify, extra={FILE: order}, progress=progress)
