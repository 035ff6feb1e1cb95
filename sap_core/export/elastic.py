"""`export_elastic`: one checkpoint for several machines, cut to size by ``load_model(path, keep=0.7)``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..models.resizing.elastic import FILE
from ..progress import ProgressCallback, silent
from ..pruning.strategies.elastic import importance_order
from ..specs import ElasticSpec
from .checkpoint import ExportReport, check_export_folder, export_checkpoint

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
    """Writes the whole model with the order of importance of its heads and channels.

    Give a ``spec`` or its fields: method, samples, seed, calibration, overwrite, verify ... Any loader of the dense
    model loads the folder whole; ``load_model(out, keep=0.7)`` builds the smaller one.

    Raises:
        InvalidInput: ``out`` can't be written; a model or method that has no heads or channels to order.
        OperationFailed: as `export_checkpoint`.
    """
    if spec is None:
        ref = model if isinstance(model, str) else model.info.ref
        spec = ElasticSpec.build(**{"model": ref, "out": str(out)} | fields)
    elif fields:
        raise InvalidInput(f"give a spec or its fields, not both ({', '.join(fields)}).")
    if isinstance(model, str):
        from ..models.loading import load_model

        model = load_model(model, **spec.loading)
    check_export_folder(model, spec.out, overwrite=spec.overwrite)
    order = importance_order(model, spec, progress)
    return export_checkpoint(
        model, spec.out, overwrite=spec.overwrite, verify=spec.verify, extra={FILE: order}, progress=progress
    )
