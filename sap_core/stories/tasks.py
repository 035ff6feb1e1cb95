"""The three tasks of the demo corpus, each with an exact score, each to be continued or filled in.

    story      go on from the first sentence; right if the whole story has no fault; what fills a gap must also be
               sentences of the corpus. A question or a summary that the model goes on with is no part of it: the
               other tasks are about those
    question   answer a question about a story; right if the answer is the expected one, word for word
    summary    summarise a story in one sentence; right if the sentence has no fault

Filled in (`infill=True`) means that the text after the gap is visible too and the gap's size is known: the middle of a
story, an answer with the end of the text after it, a summary likewise. Only a masked diffusion model can do that; an
autoregressive model can only continue.
"""

from __future__ import annotations

from dataclasses import dataclass

from sap_core.errors import UnknownOption
from sap_core.stories import grammar
from sap_core.stories.corpus import Story, generate, words
from sap_core.stories.faults import Fault, story_faults, summary_faults
from sap_core.stories.tokenizer import canvas_length

TASKS = tuple(grammar.TASKS)
#: Held-out texts for the scores begin here; training texts have seeds from 1,000,000,000 on.
FIRST_SEED = 500_000


@dataclass(frozen=True)
class Example:
    """One text to write: `before` + (what is to be written) + `after`. `target` is one right way to fill it."""

    task: str
    story: Story
    before: str
    target: str
    after: str = ""
    infill: bool = False

    @property
    def gap(self) -> int:
        """Number of tokens of the target."""
        return len(words(self.target))

    @property
    def length(self) -> int:
        """Tokens of a canvas that the whole text and its <eos> fit on, rounded up as in training."""
        return canvas_length(len(words(self.before)) + self.gap + len(words(self.after)) + 1)

    def masked_text(self, mask: str = "<mask>", end: str = "<eos>") -> str:
        """Return the text with one mask per missing token and, if the whole text is given, its end."""
        return " ".join(part for part in (self.before, *[mask] * self.gap, self.after, end) if part)

    def score(self, written: str) -> bool:
        """Return whether what was written in the place of `target` is right; text behind an <eos> does not count.

        What fills a gap in a story must also be told in the corpus' own sentences (`strict`): a row of full stops
        contradicts nothing, and says nothing.
        """
        written = _until_end(written)
        if self.task == "story":
            return not self.faults(written, strict=self.infill)
        if self.task == "question":
            return words(written) == words(self.target)
        return not summary_faults(self.story.story, written)

    def faults(self, written: str, strict: bool = False) -> list[Fault]:
        """Return the faults of a story (task "story") with `written` in place of `target`.

        `strict` as in `story_faults`.
        """
        text = f"{self.before} {_until_end(written)} {self.after}"
        for mark in (grammar.QUESTION, grammar.SUMMARY):
            text = text.split(mark)[0]
        return story_faults(text, strict=strict)


def examples(task: str, n: int, *, infill: bool = False, first_seed: int = FIRST_SEED) -> list[Example]:
    """Return n held-out examples of a task, the same for every model."""
    if task not in TASKS:
        raise UnknownOption("task", task, TASKS)
    return [_example(generate(seed, task), infill) for seed in range(first_seed, first_seed + n)]


def _example(story: Story, infill: bool) -> Example:
    if story.task == "question":
        before = f"{story.story} {grammar.QUESTION} {story.question} {grammar.ANSWER}"
        return Example(story.task, story, before, story.answer, infill=infill)
    if story.task == "summary":
        return Example(story.task, story, f"{story.story} {grammar.SUMMARY}", story.summary, infill=infill)
    sentences = _sentences(story)
    first, last = (len(sentences) // 3, 2 * len(sentences) // 3) if infill else (1, len(sentences))
    return Example(
        story.task,
        story,
        *(" ".join(part) for part in (sentences[:first], sentences[first:last], sentences[last:])),
        infill=infill,
    )


def _sentences(story: Story) -> list[str]:
    from sap_core.stories.corpus import gender_slots

    slots = story.roles | gender_slots(story.roles["hero"])
    return [grammar.BEATS[beat][template].format_map(slots) for beat, template in story.beats]


def _until_end(written: str) -> str:
    for mark in ("<eos>", "<pad>"):
        written = written.split(mark)[0]
    return written.strip()
