"""The demo corpus's three tasks, scored exactly: continue a story, answer a question, summarise."""

from __future__ import annotations

import math
from collections import defaultdict
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
    words = model.tokenizer.get_vocab()
    return all(word in words for word in vocabulary())


def task_scores(
    model: LoadedModel, *, examples: int, skip: int = 0, progress: ProgressCallback = silent
) -> dict[str, Any]:
    """Return {task: {score, n, standard_error, low, high}}: the fraction of held-out examples that are exactly right.

    low and high are Wilson's 95 % interval. ``examples`` of each task are used, after the first ``skip``.

    Every model continues: it sees what comes before. The three tasks as infilling, which only a diffusion model can do,
    follow under "infilling".
    """
    from ..stories.tasks import TASKS

    modes = [False, True] if model.is_diffusion else [False]
    scores: dict[str, Any] = {}
    done = 0
    for infill in modes:
        target = scores.setdefault("infilling", {}) if infill else scores
        for task in TASKS:
            target[task] = _score(model, task, examples, infill, skip)
            done += 1
            progress(Progress("tasks", done, len(modes) * len(TASKS), message=task))
    return scores


def _score(model: LoadedModel, task: str, count: int, infill: bool, skip: int = 0) -> dict[str, Any]:
    from ..stories.tasks import FIRST_SEED, examples

    groups: dict[int, list[Example]] = defaultdict(list)
    for example in examples(task, count, infill=infill, first_seed=FIRST_SEED + skip):
        groups[example.length].append(example)
    right = 0
    for length, members in sorted(groups.items()):
        for start in range(0, len(members), _ROWS_AT_ONCE):
            some = members[start : start + _ROWS_AT_ONCE]
            texts = (_filled if infill else continued)(model, some, length)
            right += sum(example.score(text) for example, text in zip(some, texts, strict=True))
    fraction = right / count
    low, high = share_interval(right, count)
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
