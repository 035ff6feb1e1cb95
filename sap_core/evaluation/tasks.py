"""The demo corpus' three tasks, scored exactly: go on with a story, answer a question, sum up."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ..progress import Progress, ProgressCallback, silent
from .writing import write

if TYPE_CHECKING:
    from ..demo.tasks import Example
    from ..models.loaded import LoadedModel

_ROWS_AT_ONCE = 16


def knows_stories(model: LoadedModel) -> bool:
    """Whether the model's tokenizer is that of the demo models; on any other the scores would mean nothing."""
    from ..demo.corpus import vocabulary

    if model.tokenizer is None:
        return False
    words = model.tokenizer.get_vocab()
    return all(word in words for word in vocabulary())


def task_scores(model: LoadedModel, *, examples: int, progress: ProgressCallback = silent) -> dict[str, Any]:
    """{task: {score, n, standard_error}}: the share of held-out examples that are exactly right.

    Every model continues: it sees what comes before. The three tasks as infilling, which only a diffusion model can
    do, follow under "infilling".
    """
    from ..demo.tasks import TASKS

    modes = [False, True] if model.is_diffusion else [False]
    scores: dict[str, Any] = {}
    done = 0
    for infill in modes:
        target = scores.setdefault("infilling", {}) if infill else scores
        for task in TASKS:
            target[task] = _score(model, task, examples, infill)
            done += 1
            progress(Progress("tasks", done, len(modes) * len(TASKS), message=task))
    return scores


def _score(model: LoadedModel, task: str, count: int, infill: bool) -> dict[str, Any]:
    from ..demo.tasks import examples

    asked = examples(task, count, infill=infill)
    groups: dict[tuple, list[Example]] = defaultdict(list)
    for example in asked:
        # Rows of a batch have one length and one number of tokens to write.
        groups[(example.length, example.gap if infill else 0)].append(example)
    right = 0
    for (length, gap), members in sorted(groups.items(), key=lambda group: group[0]):
        for start in range(0, len(members), _ROWS_AT_ONCE):
            some = members[start : start + _ROWS_AT_ONCE]
            right += sum(e.score(text) for e, text in zip(some, _written(model, some, length, gap), strict=True))
    share = right / count
    return {"score": share, "n": count, "standard_error": math.sqrt(share * (1 - share) / count)}


def _written(model: LoadedModel, asked: list[Example], length: int, gap: int) -> list[str]:
    """What the model wrote in the place of each example's target."""
    if gap:
        mask, end = model.tokenizer.mask_token, model.tokenizer.eos_token
        prompts = [example.masked_text(mask, end) for example in asked]
        length = max(len(model.encode(prompt)) for prompt in prompts)
    else:
        prompts = [example.before for example in asked]
        length = min(length, model.info.max_length or length)
    starts = [len(model.encode(example.before)) for example in asked]
    tokens = write(model, prompts, length=length)
    return [
        _decode(model, row[start : start + gap] if gap else row[start:])
        for row, start in zip(tokens.tolist(), starts, strict=True)
    ]


def _decode(model: LoadedModel, ids: list[int]) -> str:
    """The text up to its end token."""
    end = model.tokenizer.eos_token_id
    return model.decode(ids[: ids.index(end)] if end in ids else ids)
