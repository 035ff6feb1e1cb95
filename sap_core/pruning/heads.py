"""Whole attention heads: which ones, and how they are taken out of the computation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..progress import ProgressCallback, silent

if TYPE_CHECKING:
    import pandas as pd

    from ..models.loaded import LoadedModel
    from ..specs import PruneSpec

DEMO_PROMPT = "once there was a"


def zero_heads(model: LoadedModel, heads: Iterable[tuple[int, int]]) -> None:
    """Zeroes what each (layer, head) sends on: the head's input columns of the layer's output projection."""
    width = model.info.head_dim
    for layer, head in heads:
        model.output_projection(layer).weight.data[:, head * width : (head + 1) * width] = 0


def ranking(model: LoadedModel, spec: PruneSpec, progress: ProgressCallback = silent) -> pd.DataFrame:
    """The instability of every head: from the capture run the spec names, or from a short generation made here."""
    if spec.run is not None:
        return rank_from_run(spec.run)
    return rank_on_demo_prompt(model, spec.seed, progress)


def rank_from_run(run: str) -> pd.DataFrame:
    """The instability ranking of a finished capture run.

    Raises:
        RunProblem: the folder is missing, unfinished, or not a capture.
    """
    from ..errors import RunProblem
    from ..runs.store import open_run
    from ..sinks.instability import rank_heads

    opened = open_run(Path(run))
    if opened.kind != "capture":
        raise RunProblem(f"run '{run}' is of kind '{opened.kind}'; heads are ranked by a run of kind 'capture'.")
    return rank_heads(opened)


def rank_on_demo_prompt(model: LoadedModel, seed: int, progress: ProgressCallback = silent) -> pd.DataFrame:
    """The ranking from a short generation made here, kept nowhere."""
    from ..capture.verb import capture
    from ..sinks.instability import rank_heads

    length = min(128, model.info.max_length or 128)
    with tempfile.TemporaryDirectory() as folder:
        run = capture(model, prompt=DEMO_PROMPT, length=length, seed=seed, out=Path(folder) / "run", progress=progress)
        return rank_heads(run)
