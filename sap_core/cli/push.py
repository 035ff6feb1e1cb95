"""``sap push``: an exported checkpoint to the Hugging Face Hub."""

from __future__ import annotations

from typing import Any

import typer

from ..byte_size import format_bytes
from ..specs import PushSpec
from . import options as opt
from .console import emit, work


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command()(push)


@opt.from_specs(PushSpec, arguments=("folder", "repo"))
def push(fields: dict[str, Any], as_json: opt.Json = False) -> None:
    """Upload a checkpoint to the Hugging Face Hub in one commit; the token comes from HF_TOKEN or `hf auth login`."""
    from ..export.push import push_checkpoint

    spec = PushSpec.build(**fields)
    with work("push") as progress:
        report = push_checkpoint(spec=spec, progress=progress)
    line = f"{report.url}: {len(report.files)} files, {format_bytes(report.bytes)}, commit {report.commit[:10]}."
    emit(report.to_dict(), as_json, lambda: [line])
