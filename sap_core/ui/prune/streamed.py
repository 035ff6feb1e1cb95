"""Streamed pruning on the Prune page, offered if the model and its copy do not fit the memory."""

from __future__ import annotations

import streamlit as st

from ...byte_size import format_bytes
from ...errors import InvalidInput, SapError
from ...jobs.layout import JobStatus
from ...models.info import ModelInfo
from ...pruning.planning.memory_check import check_room, check_streamed
from ...runs.paths import runs_root
from ...specs import PruneCheckpointSpec, PruneOptions
from ..widgets import results
from ..widgets.formatting import plain_text

KIND = "prune_checkpoint"


def offer(spec: PruneOptions, info: ModelInfo) -> PruneOptions | None:
    """Return ``spec`` itself if the model fits, else show a toggle for streamed pruning.

    With the toggle on, the spec that writes files block by block is returned; with it off, None.

    Raises:
        InvalidInput: what is asked needs the whole model at once; no folder is named.
    """
    try:
        check_room(info, spec.dtype, spec.device)
        return spec
    except InvalidInput as error:
        st.warning(plain_text(str(error)))
    on = st.toggle(
        "From file to file, one block in memory at a time", key="streamed",
        help="Slower. The result is written to a folder; interrupted, the same settings go on after the last block.",
    )  # fmt: skip
    if not on:
        return None
    check_streamed(spec)
    name = f"{info.ref.rstrip('/').rpartition('/')[2].replace(':', '-')}-{spec.method}"
    out = st.text_input(
        "Folder to write", str(runs_root().parent / "exports" / name), key="streamed_out",
        help="On the machine the studio runs on. It must not exist yet.",
    )  # fmt: skip
    if not out.strip():
        raise InvalidInput("Name a folder to write to.")
    return PruneCheckpointSpec.build(**spec.model_dump(exclude={"kind"}), out=out.strip())


def written(status: JobStatus | None) -> None:
    """Show the folder of the session's finished streamed pruning, and how to load it."""
    if status is None or status.kind != KIND or status.state != "finished" or status.run_path is None:
        return
    try:
        result = results.run_at(status.run_path).result
    except SapError as error:
        st.error(plain_text(str(error)))
        return
    export = result["export"]
    checked = "verified in a fresh process" if export["verification"] else "too large to be verified here"
    st.success(
        f"Written: {format_bytes(export['bytes'])}, {result['report']['sparsity']:.1%} of the matrices' weights are "
        f"zero, {checked}."
    )
    st.code(export["folder"], language=None)
    st.code(export["code"], language="python", wrap_lines=True)
