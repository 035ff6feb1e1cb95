"""``sap elastic``: one checkpoint that is cut to size when it is loaded."""

from __future__ import annotations

from typing import Any

import typer

from ..specs import ElasticSpec
from . import options as opt
from .console import emit, work
from .prune_text import export_lines


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command()(elastic)


@opt.from_specs(ElasticSpec)
def elastic(fields: dict[str, Any], as_json: opt.Json = False) -> None:
    """Write a whole model with the order of importance of its units, so that a part of it can be loaded (keep)."""
    spec = ElasticSpec.build(**fields)
    with work("elastic") as progress:
        from ..export.elastic import export_elastic

        report = export_elastic(spec.model, spec=spec, progress=progress)
    code = f'model = sap.load_model("{report.folder}", keep=0.7)  # any share of its heads and channels'
    emit(report.to_dict(), as_json, lambda: [*export_lines(report), "", "import sap_core as sap", "", code])
