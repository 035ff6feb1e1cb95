"""Three sets of texts without a text in common: to learn from, to decide with, and to measure the result on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput
from ..texts.rows import TextRow, TextSet, source_rows
from ..texts.source import TextSource
from .tasks import knows_stories
from .texts import VALIDATION_SEED, encoder_of, longest_row, story_texts

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_FIRST_TO_LEARN = 1_000_000_000  # stories of the demo models' own training range; those held out have lower seeds
_MOST_STORIES = 4096
_MOST_TEXTS = 50_000
_FEWEST = 8
ADVICE = "Give texts the model was made for: --text FILE.txt (one text a line)."


@dataclass(frozen=True)
class TextSplit:
    """Texts to learn from (train), to decide with (validation), and to measure on (test)."""

    train: TextSet
    validation: TextSet
    test: TextSet

    def describe(self) -> dict[str, Any]:
        """Return the facts of each set, with a SHA-256 of its token ids; JSON-able."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: found.describe() | {"sha256": _digest(found.rows)} for name, found in named.items()}


def split_texts(
    model: LoadedModel, source: TextSource | None, *, samples: int, held_out: int, seed: int, length: int | None = None
) -> TextSplit:
    """Return texts of ``source`` to learn from, to decide with and to measure on, drawn by ``seed``.

    A text that occurs several times is used once, so that none that is held out is learned from.

    Args:
        model: The model that reads them.
        source: The source; None or the demo corpus: stories, for a model that knows them.
        samples: Texts to learn from, at most.
        held_out: Texts to decide with, and as many again to measure on; of a short source a fifth each.
        seed: Seed of the choice.
        length: Tokens per text, at most; default: `longest_row`.

    Raises:
        InvalidInput: no source for a model that knows no stories; fewer than 8 different texts; as `evaluation_texts`.
        ModelProblem: a diffusion model without mask token.
    """
    if length is not None and model.info.max_length and length > model.info.max_length:
        raise InvalidInput(
            f"text_length is {length} but the model has {model.info.max_length} positions; ask for fewer."
        )
    if source is None or source.is_demo:
        return _stories(model, min(samples, _MOST_STORIES), held_out, seed)
    found = source_rows(
        source,
        encoder_of(model),
        samples=min(samples, _MOST_TEXTS) + 2 * held_out,
        seed=seed,
        length=length or longest_row(model),
        vocab_size=model.info.vocab_size,
    ).check_known(model.info.ref, ADVICE)
    rows = list({row.tokens.tobytes(): row for row in found.rows}.values())
    if len(rows) < _FEWEST:
        raise InvalidInput(
            f"{source.use} '{source.name}' has {len(rows)} different {found.unit}; at least {_FEWEST} are needed, some "
            "to learn from, some to decide when to stop, and some to measure the result on."
        )
    order = np.random.default_rng(seed).permutation(len(rows))
    each = min(held_out, max(2, len(rows) // 5))
    parts = {"measured": order[:each], "held-out": order[each : 2 * each], "": order[2 * each :]}
    test, validation, train = (
        replace(
            found, rows=[rows[i] for i in part], source=" ".join(filter(None, [name, found.unit, "of", source.name]))
        )
        for name, part in parts.items()
    )
    return TextSplit(train, validation, test)


def _stories(model: LoadedModel, samples: int, held_out: int, seed: int) -> TextSplit:
    if model.tokenizer is None or not knows_stories(model):
        raise InvalidInput(f"{model.info.ref} knows no demo stories; give texts to learn from: --text FILE.")
    test = story_texts(model, samples=held_out, seed=seed)
    validation = story_texts(model, samples=held_out, seed=seed, first=VALIDATION_SEED)
    train = story_texts(model, samples=samples, seed=seed, first=_FIRST_TO_LEARN)
    known = {row.tokens.tobytes() for row in (*test.rows, *validation.rows)}
    rows = [row for row in train.rows if row.tokens.tobytes() not in known]
    return TextSplit(replace(train, rows=rows, source="demo stories"), validation, test)


def _digest(rows: list[TextRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(len(row.tokens).to_bytes(8, "little") + np.ascontiguousarray(row.tokens).tobytes())
    return digest.hexdigest()
