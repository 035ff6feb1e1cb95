"""``sap push``: an exported checkpoint to the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as opt
from .console import emit, size, work


def register(app: typer.Typer) -> None:
    app.command()(push)


def push(
    folder: Annotated[str, typer.Argument(help="A folder written by `sap prune` or `sap export`.", show_default=False)],
    repo: Annotated[str, typer.Argument(help="NAME/MODEL on the Hub; made if it is not there.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="A new repository is private.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch to commit to; made if it is not there.", show_default="main")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Upload a checkpoint to the Hugging Face Hub in one commit; the token comes from HF_TOKEN or `hf auth login`."""
    from ..export.push import push_checkpoint

    with work("push") as progress:
        report = push_checkpoint(folder, repo, private=private, revision=revision, progress=progress)
    line = f"{report.url}: {len(report.files)} files, {size(report.bytes)}, commit {report.commit[:10]}."
    emit(report.to_dict(), as_json, lambda: [line])
