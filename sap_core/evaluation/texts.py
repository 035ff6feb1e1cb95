"""The texts that quality is measured on: those that are given, or the best available; a result names which.

Texts that were given are measured as they are. Without any, `evaluate` uses held-out stories of the demo corpus. After
a pruning the order is: the calibration source's texts that calibration left over; for the demo's tokenizer, demo
stories; for any other model, texts that the dense model writes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InvalidInput, required
from ..stories.tokenizer import canvas_length
from ..texts.rows import Encoder, TextRow, TextSet, source_rows, text_rows
from ..texts.source import TextSource
from .tasks import knows_stories

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import PruneOptions, SweepSpec

# Seeds of held-out stories: below those of training texts and of calibration texts.
FIRST_STORY = 1_000_000
_SEEDS_APART = 10_000
_LONGEST_ROW = 512
_WRITTEN_LENGTH = 64
VALIDATION_TEXTS = 16
VALIDATION_SEED = 5_000  # stories from here on decide, those before it are what the result is measured on
STORIES = "held-out demo stories"
WRITTEN = "texts the dense model writes"
ADVICE = "Give texts the model was made for: --text FILE.txt (one text a line)."


def evaluation_texts(model: LoadedModel, source: TextSource | None, *, samples: int, seed: int) -> TextSet:
    """Return the texts that ``model`` is measured on: those of ``source``, or held-out stories of the demo corpus.

    Raises:
        InvalidInput: a model without tokenizer where texts are given, a source that can't be read, more than 5 % of its
            tokens unknown to the model.
        ModelProblem: a diffusion model without mask token.
    """
    encoder = encoder_of(model)
    if source is not None and not source.is_demo:
        found = source_rows(
            source,
            encoder,
            samples=samples,
            seed=seed,
            length=longest_row(model),
            vocab_size=model.info.vocab_size,
        )
        return found.check_known(model.info.ref, ADVICE)
    if encoder is None:
        raise InvalidInput(
            f"{model.info.ref} has no tokenizer, so no text can be put to it; save one beside the model, or give token "
            "ids: --text FILE.npy."
        )
    return story_texts(model, samples=samples, seed=seed).check_known(model.info.ref, ADVICE)


def pruning_texts(model: LoadedModel, spec: PruneOptions | SweepSpec, *, samples: int, seed: int) -> TextSet:
    """Return the texts that a pruning of ``model`` is measured on, in the order given at the top of this file.

    Args:
        model: The dense model.
        spec: Names the texts to measure on, the calibration source and how many of its texts are taken.
        samples: Number of texts.
        seed: Seed of their choice.

    Raises:
        InvalidInput: as `evaluation_texts`.
        ModelProblem: a diffusion model without mask token.
    """
    if spec.text_source is not None:
        return evaluation_texts(model, spec.text_source, samples=samples, seed=seed)
    decides = getattr(spec, "strategy", "direct") != "direct" and getattr(spec, "validation", None) is None
    taken = spec.samples + (VALIDATION_TEXTS if decides else 0)
    return _best_texts(model, spec, samples=samples, seed=seed, taken=taken, first=0)


def validation_texts(model: LoadedModel, spec: PruneOptions) -> TextSet:
    """Return the texts on which a pruning decides; the result is measured on none of them.

    Raises:
        InvalidInput: as `evaluation_texts`.
        ModelProblem: a diffusion model without mask token.
    """
    given = getattr(spec, "validation", None)
    if given is not None:
        source = TextSource(given, "validation")
        return evaluation_texts(model, source, samples=VALIDATION_TEXTS, seed=spec.seed)
    return _best_texts(model, spec, samples=VALIDATION_TEXTS, seed=spec.seed, taken=spec.samples, first=VALIDATION_SEED)


def _best_texts(
    model: LoadedModel, spec: PruneOptions | SweepSpec, *, samples: int, seed: int, taken: int, first: int
) -> TextSet:
    """Return calibration texts after the first ``taken``, else stories from ``first`` on, else the model's own."""
    held_out = _left_by_calibration(model, spec, samples=samples, taken=taken)
    if held_out is not None:
        return held_out.check_known(model.info.ref, ADVICE)
    if knows_stories(model):
        return story_texts(model, samples=samples, seed=seed, first=first)
    return written_texts(model, samples=samples, seed=seed + first)


def encoder_of(model: LoadedModel) -> Encoder | None:
    """Return the model's tokenizer as an `Encoder`; None if it has none.

    Raises:
        ModelProblem: a diffusion model without mask token.
    """
    mask_id = model.check_masked() if model.is_diffusion and model.info.row.has_mask else None
    if model.tokenizer is None:
        return None
    return Encoder(model.tokenizer, model.is_diffusion, mask_id, model.encode_marked)


def longest_row(model: LoadedModel) -> int:
    """Return the largest number of tokens of a row."""
    return min(_LONGEST_ROW, model.info.max_length or _LONGEST_ROW)


def story_texts(model: LoadedModel, *, samples: int, seed: int, first: int = 0) -> TextSet:
    """Return held-out stories of the demo corpus, one per row, from the ``first`` of a seed on.

    The demo models see each with its end-of-text token; the diffusion model predicts the whole canvas, as it was
    trained: the story, its end, and the end tokens that fill the canvas up (`canvas_length`). Any other model
    sees a story as any text.
    """
    from ..stories.corpus import generate

    begin = FIRST_STORY + seed * _SEEDS_APART + first
    stories = [generate(begin + i).text for i in range(samples)]
    encoder = required(encoder_of(model), "the tokenizer")
    if not knows_stories(model):
        return text_rows(stories, encoder, source=STORIES, length=longest_row(model))
    rows = []
    for story in stories:
        ids, special = encoder.encode(story)
        rows.append(_story_row(ids, special, encoder, model.info.max_length))
    return TextSet(rows, STORIES)


def _story_row(ids: list[int], special: list[bool], encoder: Encoder, limit: int | None) -> TextRow:
    """Return a story in its canvas.

    An autoregressive model's is padded too, so that rows share a few lengths; it does not see the padding.
    """
    end = encoder.tokenizer.eos_token_id
    ids, special = [*ids, end][:limit], [*special, False][:limit]
    length = len(ids)
    width = canvas_length(length)
    fill = min(width, limit or width) - length
    row = encoder.row([*ids, *[end] * fill], [*special, *[not encoder.diffusion] * fill])
    return replace(row, counted=length) if encoder.diffusion else row


def _left_by_calibration(
    model: LoadedModel, spec: PruneOptions | SweepSpec, *, samples: int, taken: int
) -> TextSet | None:
    """Return texts of the calibration source after the ``taken`` ones; None if fewer than 2 are left."""
    source = spec.calibration_source
    if source.is_demo or source.is_ids or model.tokenizer is None:
        return None
    seeds = getattr(spec, "seeds", None) or (getattr(spec, "seed", 0),)
    if len(seeds) > 1 and not source.is_dataset:
        return None  # each seed draws other texts, so none is held out from all of them
    found = source_rows(
        source,
        encoder_of(model),
        samples=samples,
        seed=seeds[0],
        length=longest_row(model),
        vocab_size=model.info.vocab_size,
        skip=taken,
    )
    if len(found.rows) < 2:
        return None
    return replace(found, source=f"held-out {found.unit} of {source.name}")


def written_texts(model: LoadedModel, *, samples: int, seed: int) -> TextSet:
    """Return texts that the model itself writes at temperature 1.

    On them its own loss is as low as possible, so the loss of a pruning shows, but not how good either model is on
    other text.
    """
    from .generation import sample_rows

    length = min(_WRITTEN_LENGTH, model.info.max_length or _WRITTEN_LENGTH)
    mask_id = model.check_masked() if model.is_diffusion else None
    encoder = Encoder(model.tokenizer, model.is_diffusion, mask_id, model.encode_marked)
    rows = [encoder.row(ids, given) for ids, given in sample_rows(model, samples, length=length, seed=seed)]
    return TextSet([row for row in rows if row.counted], WRITTEN)
