"""``sap elastic``: one checkpoint that is cut to size when it is loaded."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as opt
from .console import emit, work
from .prune_text import export_lines


def register(app: typer.Typer) -> None:
    app.command()(elastic)


def elastic(
    model: opt.Model,
    out: Annotated[str, typer.Option(help="Folder of the checkpoint; must not exist.", show_default=False)],
    method: Annotated[
        str | None, typer.Option(help="Score that orders heads and channels.", show_default="sink")
    ] = None,
    calibration: opt.Calibration = None,
    samples: opt.Samples = None,
    calibration_length: opt.CalibrationLength = None,
    calibration_subset: opt.CalibrationSubset = None,
    calibration_split: opt.CalibrationSplit = None,
    calibration_column: opt.CalibrationColumn = None,
    noise_levels: opt.NoiseLevels = None,
    seed: opt.Seed = None,
    overwrite: opt.Overwrite = False,
    verify: opt.Verify = True,
    dtype: opt.Dtype = None,
    device: opt.Device = None,
    trust_remote_code: opt.RemoteCode = None,
    mask_token_id: opt.MaskToken = None,
    causal: opt.Causal = None,
    shift_logits: opt.ShiftLogits = None,
    block_size: opt.BlockSize = None,
    as_json: opt.Json = False,
) -> None:
    """Write a whole model with the order of importance of its units, so that a part of it can be loaded (keep)."""
    from ..specs import ElasticSpec

    spec = ElasticSpec.build(
        model=model,
        out=opt.absolute(out),
        overwrite=overwrite,
        verify=verify,
        **opt.given(
            method=method,
            calibration=opt.calibration_source(calibration),
            samples=samples,
            calibration_length=calibration_length,
            calibration_subset=calibration_subset,
            calibration_split=calibration_split,
            calibration_column=calibration_column,
            noise_levels=noise_levels,
            seed=seed,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
            mask_token_id=mask_token_id,
            causal=causal,
            shift_logits=shift_logits,
            block_size=block_size,
        ),
    )
    with work("elastic") as progress:
        from ..export.elastic import export_elastic

        report = export_elastic(spec.model, spec=spec, progress=progress)
    code = f'model = sap.load_model("{report.folder}", keep=0.7)  # any share of its heads and channels'
    emit(report.to_dict(), as_json, lambda: [*export_lines(report), "", "import sap_core as sap", "", code])
