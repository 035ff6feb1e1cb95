"""The demo corpus's three tasks, scored exactly: continue a story, answer a question, summarise."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..progress import Progress, ProgressCallback, silent
from ..sinks.intervals import share_interval
from .generation import STORY_BLOCK, generate

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..stories.tasks import Example

_ROWS_AT_ONCE = 16


def knows_stories(model: LoadedModel) -> bool:
    """Return whether the model's tokenizer is that of the demo models; scores of any other would be meaningless."""
    from ..stories.corpus import vocabulary

    if model.tokenizer is None:
        return False
    known = model.tokenizer.get_vocab()
    return all(word in known for word in vocabulary())


def task_scores(
    model: LoadedModel, *, examples: int, skip: int = 0, progress: ProgressCallback = silent
) -> dict[str, Any]:
    """Return {task: {score, n, standard_error, low, high}}: the fraction of held-out examples that are exactly right.

    low and high are Wilson's 95 % interval. ``examples`` of each task are used, after the first ``skip``.

    Every model continues: it sees what comes before. The three tasks as infilling, which only a diffusion model can do,
    follow under "infilling".
    """
    scores: dict[str, Any] = {}
    hits: dict[tuple[str, bool], list[bool]] = defaultdict(list)
    batches = task_batches(model, examples=examples, skip=skip)
    for done, batch in enumerate(batches):
        hits[batch.task, batch.infill] += batch.hits(model)
        progress(Progress("tasks", done + 1, len(batches), message=batch.task))
    for (task, infill), right in hits.items():
        target = scores.setdefault("infilling", {}) if infill else scores
        target[task] = score_of(right)
    return scores


@dataclass(frozen=True)
class TaskBatch:
    """Some examples of one task on canvases of one length, written together."""

    task: str
    infill: bool
    length: int
    examples: tuple[Example, ...]

    def hits(self, model: LoadedModel) -> list[bool]:
        """Return which examples ``model`` gets exactly right."""
        texts = (_filled if self.infill else continued)(model, list(self.examples), self.length)
        return [example.score(text) for example, text in zip(self.examples, texts, strict=True)]


def task_batches(model: LoadedModel, *, examples: int, skip: int = 0) -> list[TaskBatch]:
    """Return the examples of all tasks in batches, those of `task_scores` in its order."""
    from ..stories.tasks import FIRST_SEED, TASKS
    from ..stories.tasks import examples as made

    batches = []
    for infill in [False, True] if model.is_diffusion else [False]:
        for task in TASKS:
            groups: dict[int, list[Example]] = defaultdict(list)
            for example in made(task, examples, infill=infill, first_seed=FIRST_SEED + skip):
                groups[example.length].append(example)
            for length, members in sorted(groups.items()):
                some = [members[start : start + _ROWS_AT_ONCE] for start in range(0, len(members), _ROWS_AT_ONCE)]
                batches += [TaskBatch(task, infill, length, tuple(part)) for part in some]
    return batches


def score_of(right: list[bool]) -> dict[str, Any]:
    """Return {score, n, standard_error, low, high} of a task's examples, with Wilson's interval."""
    count = len(right)
    fraction = sum(right) / count
    low, high = share_interval(sum(right), count)
    error = math.sqrt(fraction * (1 - fraction) / count)
    return {"score": fraction, "n": count, "standard_error": error, "low": low, "high": high}


def continued(model: LoadedModel, asked: list[Example], length: int) -> list[str]:
    """Return what the model wrote after each example.

    A diffusion model writes on a canvas of ``length`` tokens, an autoregressive one until it ends the text or has no
    positions left, because it gets no length.
    """
    most = model.info.max_length or length
    length = min(length, most) if model.is_diffusion else most
    prompts = [example.before for example in asked]
    written = generate(model, prompts, length=length, block_length=STORY_BLOCK, until_end=True)
    return [model.decode(written.row(i, model.tokenizer.eos_token_id)) for i in range(len(asked))]


def _filled(model: LoadedModel, asked: list[Example], length: int) -> list[str]:
    """Return what the model wrote into the gap of each example.

    The canvas is padded with end tokens, as in training.
    """
    mask, end = model.tokenizer.mask_token, model.tokenizer.eos_token
    prompts = []
    for example in asked:
        prompt = example.masked_text(mask, end)
        prompts.append(prompt + f" {end}" * (length - len(model.encode(prompt))))
    written = generate(model, prompts, length=length)
    return [
        model.decode(written.row(i, model.tokenizer.eos_token_id, len(model.encode(e.before)), e.gap))
        for i, e in enumerate(asked)
    ]
