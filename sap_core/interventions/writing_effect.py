"""What blocking positions does to the texts that a model writes: task scores, and agreement with the unchanged ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..evaluation.comparison import agreement, continuations
from ..evaluation.tasks import TaskBatch, score_of, task_batches
from ..progress import Progress, ProgressCallback
from ..sinks.intervals import paired_share_interval
from ..texts.rows import TextRow
from .ablated import BY_RUN
from .records import Records
from .selection import Choice

WHOLE = (0.0, 1.0)
Write = Callable[[Any], Any]


def written(twin: Any, write: Write, choice: Choice | None, by: str, part: tuple[float, float] = WHOLE) -> Any:
    """Return what ``write`` returns for the model under a condition; None: as it is.

    By run, the text is written once as the model is, which says where its sinks are, and then again with these blocked.
    """
    twin.choice, twin.part, twin.fixed = choice, part, None
    twin.begin()
    try:
        if choice is not None and choice.top and by == BY_RUN:
            twin.seen, twin.part = [], WHOLE
            write(twin)
            fixed = twin.average()
            twin.begin()
            twin.fixed, twin.part = fixed, part
        return write(twin)
    finally:
        twin.choice, twin.part, twin.fixed = None, WHOLE, None


def continued_texts(
    twin: Any, rows: Sequence[TextRow], cases: Sequence[tuple[Choice | None, tuple[float, float]]], records: Records,
    *, by: str, progress: ProgressCallback,
) -> list[list[list[int]]]:  # fmt: skip
    """Return, for each case (condition, part of the generation), the tokens written behind each text's beginning."""

    def write(model: Any) -> list[list[int]]:
        return continuations(model, rows)

    result = []
    for done, (choice, part) in enumerate(cases):
        name = f"text-of-{'intact' if choice is None else choice.name}-{part[0]:.4f}-{part[1]:.4f}"
        result.append(records.get(name, lambda c=choice, p=part: written(twin, write, c, by, p)))
        progress(Progress("writing", done + 1, len(cases), "Writing with positions blocked"))
    return result


def task_effect(
    twin: Any, conditions: Sequence[Choice], records: Records, *, examples: int, by: str, progress: ProgressCallback
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the task scores of the model as it is, and of every condition with the paired difference from them."""
    batches = task_batches(twin, examples=examples)
    total = (1 + len(conditions)) * len(batches)
    hits: list[dict[str, list[bool]]] = []
    for number, choice in enumerate((None, *conditions)):
        found: dict[str, list[bool]] = {}
        for place, batch in enumerate(batches):
            name = f"task-{'intact' if choice is None else choice.name}-{place:05d}"

            def measure(batch: TaskBatch = batch, choice: Choice | None = choice) -> list[bool]:
                return written(twin, batch.hits, choice, by)

            key = f"infilling {batch.task}" if batch.infill else batch.task
            found[key] = found.get(key, []) + records.get(name, measure)
            progress(Progress("tasks", number * len(batches) + place + 1, total, f"Tasks: {key}"))
        hits.append(found)
    intact = {task: score_of(right) for task, right in hits[0].items()}
    return intact, [
        {task: score_of(right) | {"difference": _paired(hits[0][task], right)} for task, right in found.items()}
        for found in hits[1:]
    ]


def text_agreement(intact: Sequence[Sequence[int]], changed: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return how far the texts agree with those of the model as it is, see `agreement`."""
    return agreement(changed, intact)


def _paired(before: Sequence[bool], after: Sequence[bool]) -> dict[str, Any]:
    first, second = np.asarray(before), np.asarray(after)
    value, low, high = paired_share_interval(int((second & ~first).sum()), int((first & ~second).sum()), len(first))
    return {"score": value, "low": low, "high": high}
