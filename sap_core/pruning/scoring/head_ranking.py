"""The ranking of whole attention heads by instability, and removing heads by zeroing their outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InvalidInput
from ...memoize import memoize
from ...models.resizing.units import has_even_heads
from ...progress import ProgressCallback, silent
from ..planning.head_damage import rank_by_damage
from ..planning.redundant_heads import Group

if TYPE_CHECKING:
    import pandas as pd

    from ...models.loaded import LoadedModel
    from ...runs.reading import Run

DEMO_PROMPT = "once there was a"


def zero_heads(model: LoadedModel, heads: Iterable[tuple[int, int]]) -> None:
    """Zero the output of each (layer, head): the head's input columns of the layer's output projection."""
    width = model.info.head_dim
    for layer, head in heads:
        model.output_projection(layer).weight.data[:, head * width : (head + 1) * width] = 0


def ranking(model: LoadedModel, run: str | None, seed: int, progress: ProgressCallback = silent) -> pd.DataFrame:
    """Return the instability of every head, from a capture ``run`` or, if it is None, from a short generation.

    A run of `ablate_heads` ranks by the damage that was measured.
    """
    if run is not None:
        return rank_from_run(run)
    return rank_on_own_text(model, seed, progress)


def duplicates(model: LoadedModel, run: str | None, seed: int, progress: ProgressCallback = silent) -> list[Group]:
    """Return groups of heads that attend alike, from the same run as `ranking`.

    Raises:
        InvalidInput: no run is named and the model has no tokenizer to make one with.
    """
    if run is not None:
        return duplicates_from_run(run)
    if not has_even_heads(model.info):
        raise InvalidInput(
            f"the layers of {model.info.ref} have different numbers of heads, so which of them attend alike can't be "
            "looked at; remove heads whether or not they are the last of their kind with duplicates 'ignore'."
        )
    if model.tokenizer is None:
        raise InvalidInput(
            f"{model.info.ref} has no tokenizer, so which of its heads attend alike can't be looked at; name a capture "
            "run, or remove heads whether or not they are the last of their kind with duplicates 'ignore'."
        )
    return _on_own_text(model, seed, progress)[1]


def rank_from_run(run: str) -> pd.DataFrame:
    """Return the ranking of a finished capture run, by instability, or of a run of `ablate_heads`, by damage.

    Columns layer, head, instability and its components, importance (high: should stay) and rank (1 goes first).

    Raises:
        RunProblem: the folder is missing, unfinished, or of another kind.
    """
    from ...runs.store import open_run
    from ...sinks.instability import rank_heads

    opened = open_run(Path(run))
    if opened.kind == "ablate_heads":
        return rank_by_damage(opened)
    table = rank_heads(_capture_run(run))
    return table.assign(importance=-table["instability"])


def duplicates_from_run(run: str) -> list[Group]:
    """Return groups of heads that attend alike in a finished capture run.

    Raises:
        RunProblem: as `rank_from_run`.
    """
    from ...sinks.redundant_heads import duplicate_heads

    table = duplicate_heads(_capture_run(run))
    return [
        list(zip(group["layer"].tolist(), group["head"].tolist(), strict=True)) for _, group in table.groupby("group")
    ]


def rank_on_own_text(model: LoadedModel, seed: int, progress: ProgressCallback = silent) -> pd.DataFrame:
    """Return the ranking from a short generation made for this and not kept."""
    return _on_own_text(model, seed, progress)[0]


def _on_own_text(model: LoadedModel, seed: int, progress: ProgressCallback) -> tuple[pd.DataFrame, list[Group]]:
    """Return (ranking, groups of duplicates) of one short generation, cached while the model is loaded.

    A demo model continues the opening of a story. Any other model writes without a prompt at temperature 1, because a
    prompt of another language or domain would rank its heads on inputs that it was not trained on.
    """
    from ...capturing.api import capture

    def look() -> tuple[pd.DataFrame, list[Group]]:
        length = min(128, model.info.max_length or 128)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run"
            prompt, temperature = (DEMO_PROMPT, 0.0) if _knows_demo(model) else ("", 1.0)
            options = {"length": length, "seed": seed, "temperature": temperature}
            capture(model, prompt=prompt, out=path, progress=progress, **options)
            return rank_from_run(str(path)), duplicates_from_run(str(path))

    return memoize(model.module, ("heads on its own text", seed), look)


def _knows_demo(model: LoadedModel) -> bool:
    """Return whether the demo prompt is of words that the model's tokenizer knows and the demo's grammar has."""
    from ...stories.corpus import vocabulary

    words = {} if model.tokenizer is None else model.tokenizer.get_vocab()
    return all(word in words for word in vocabulary())


def _capture_run(run: str) -> Run:
    from ...errors import RunProblem
    from ...runs.store import open_run

    opened = open_run(Path(run))
    if opened.kind != "capture":
        raise RunProblem(f"run '{run}' is of kind '{opened.kind}'; heads are ranked by a run of kind 'capture'.")
    return opened
