"""Seeded stories of 40 to 80 tokens, each with everything needed to check it and its exact information content.

How the entropy is known exactly: `_Chooser` makes every random choice of a story and adds up -ln p of what it chose.
The text determines the choices (every role is named in a sentence that is always told, and no two templates of a
plot share a skeleton; `tests/demo/test_corpus.py` holds both and re-derives the choices of thousands of stories from
their text), so the sum is -ln p(text) itself, and its mean over stories divided by their mean number of tokens is the
entropy rate of the generator: the floor under any model's nats per token on this corpus.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TypeVar

from sap_core.errors import InvalidInput, UnknownOption
from sap_core.stories import grammar

T = TypeVar("T")

_TOKEN = re.compile(r"\w+|[^\w\s]")
_NO_SPACE_BEFORE = set(".,!?:”")

#: Gendered words: slot -> (of a girl, of a boy).
_GENDERED = {"he": ("she", "he"), "his": ("her", "his"), "him": ("her", "him"), "girl": ("girl", "boy")}


@dataclass(frozen=True)
class Story:
    """One text of the corpus. `text` is the whole; `story` + `extra` are its parts (`extra` empty for task "story")."""

    text: str
    story: str
    task: str
    plot: str
    roles: dict[str, str]
    nats: float
    seed: int
    question: str = ""
    answer: str = ""
    summary: str = ""
    beats: tuple[tuple[str, int], ...] = field(default=(), repr=False)

    @property
    def n_tokens(self) -> int:
        """Words and punctuation marks of the text, plus the one end-of-text token a model must also predict."""
        return len(words(self.text)) + 1


def words(text: str) -> list[str]:
    """Return lower-case words and punctuation marks, the demo models' tokens ("“stop!” said" -> “ stop ! ” said)."""
    return _TOKEN.findall(text.lower())


def readable(tokens: list[str]) -> str:
    """Return tokens as readable text: no space before punctuation or inside quotes. `words` is the inverse."""
    out: list[str] = []
    for i, token in enumerate(tokens):
        if i and token not in _NO_SPACE_BEFORE and tokens[i - 1] != "“":
            out.append(" ")
        out.append(token)
    return "".join(out)


def generate(seed: int, task: str | None = None) -> Story:
    """Return the story of this seed.

    `task` fixes the kind ("story", "question", "summary"); None draws it.
    """
    return _generate(random.Random(f"story {seed}"), seed, task)


def generate_stories(n: int, seed: int = 0) -> list[Story]:
    """Return n texts of the corpus: those of the seeds `seed`, `seed` + 1, ..."""
    if n < 0:
        raise InvalidInput(f"the number of stories must not be negative: got {n}")
    return [generate(s) for s in range(seed, seed + n)]


def gender_slots(hero: str) -> dict[str, str]:
    """Return the words that the hero's gender decides, by slot."""
    column = 0 if hero in grammar.GIRLS else 1
    return {slot: pair[column] for slot, pair in _GENDERED.items()}


def plot_beats(plot: str) -> list[tuple[str, bool]]:
    """Return the beats of a plot in order, each with whether it is always told."""
    return [(beat.rstrip("?"), not beat.endswith("?")) for beat in grammar.PLOTS[plot].split()]


@cache
def questions_of(plot: str) -> tuple[tuple[str, str], ...]:
    """Return the (question, answer) templates that may follow a story of this plot."""
    return grammar.QUESTIONS[""] + grammar.QUESTIONS[plot]


def entropy_rate(n: int = 4000, first_seed: int = 0) -> dict[str, float]:
    """Return the entropy of the generator in nats per token (end token counted), with its standard error.

    H/token = E[-ln p(text)] / E[tokens]; the error is that of a ratio of means (delta method).
    """
    stories = [generate(seed) for seed in range(first_seed, first_seed + n)]
    nats = sum(s.nats for s in stories) / n
    tokens = sum(s.n_tokens for s in stories) / n
    rate = nats / tokens
    spread = sum((s.nats - rate * s.n_tokens) ** 2 for s in stories) / (n - 1)
    return {
        "nats_per_token": rate,
        "standard_error": math.sqrt(spread / n) / tokens,
        "nats_per_text": nats,
        "tokens_per_text": tokens,
        "texts": n,
    }


class _Chooser:
    """The only source of randomness: the probability of each choice is added up as -ln p, in nats."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.nats = 0.0

    def one_of(self, options: Sequence[T]) -> T:
        self.nats += math.log(len(options))
        return options[self._rng.randrange(len(options))]

    def weighted(self, shares: dict[T, float]) -> T:
        point, (*_, option) = self._rng.random(), shares
        for option, share in shares.items():  # noqa: B007 - the option at which the loop stops
            point -= share
            if point < 0:
                break
        self.nats -= math.log(shares[option])
        return option

    def wording(self, templates: tuple[str, ...]) -> int:
        """Return the number of a template, drawn by `grammar.SHARES`."""
        return self.weighted(dict(enumerate(grammar.SHARES[len(templates)])))

    def whether(self, probability: float) -> bool:
        return self.weighted({True: probability, False: 1 - probability})


def _generate(rng: random.Random, seed: int, task: str | None) -> Story:
    choose = _Chooser(rng)
    if task is None:
        task = choose.weighted(grammar.TASKS)
    elif task not in grammar.TASKS:
        raise UnknownOption("task", task, grammar.TASKS)
    plot = choose.one_of(tuple(grammar.PLOTS))
    roles = {role: choose.one_of(listed) for role, listed in ROLE_WORDS.items()}
    slots = roles | gender_slots(roles["hero"])

    told, beats = [], []
    for beat, always in plot_beats(plot):
        if always or choose.whether(grammar.OPTIONAL):
            template = choose.wording(grammar.BEATS[beat])
            beats.append((beat, template))
            told.append(grammar.BEATS[beat][template].format_map(slots))
    story = " ".join(told)

    question = answer = summary = ""
    text = story
    if task == "question":
        question, answer = (part.format_map(slots) for part in choose.one_of(questions_of(plot)))
        text = f"{story} {grammar.QUESTION} {question} {grammar.ANSWER} {answer}"
    elif task == "summary":
        templates = grammar.SUMMARIES[plot]
        summary = templates[choose.wording(templates)].format_map(slots)
        text = f"{story} {grammar.SUMMARY} {summary}"
    return Story(text, story, task, plot, roles, choose.nats, seed, question, answer, summary, tuple(beats))


#: role -> the words it is drawn from
ROLE_WORDS = {
    "hero": grammar.NAMES,
    "colour": grammar.COLOURS,
    "object": grammar.OBJECTS,
    "place": grammar.PLACES,
    "animal": grammar.ANIMALS,
}


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """Return every word and punctuation mark a text can contain, sorted."""
    texts = [grammar.QUESTION, grammar.ANSWER, grammar.SUMMARY]
    texts += [template for templates in grammar.BEATS.values() for template in templates]
    texts += [part for pairs in grammar.QUESTIONS.values() for pair in pairs for part in pair]
    texts += [template for templates in grammar.SUMMARIES.values() for template in templates]
    found = {word for text in texts for word in words(re.sub(r"\{\w+\}", " ", text))}
    found |= {word for listed in ROLE_WORDS.values() for word in listed}
    found |= {word for pair in _GENDERED.values() for word in pair}
    return tuple(sorted(found))
