"""Dense and pruned side by side within seconds: a text of both, and their likelihood on a few texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..memoize import memoize
from ..progress import ProgressCallback, silent
from .generation import STORY_BLOCK, generate, generation_options
from .likelihood import Losses, text_likelihood
from .tasks import knows_stories
from .texts import evaluation_texts, pruning_texts, written_texts

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import PruneOptions, SamplingOptions
    from ..texts.rows import TextSet

_TEXTS, _GIVEN_TEXTS = 8, 32
_DRAWS = 4
_STEPS, _LENGTH = 64, 128
_STORY_OPENING = "once there was a"
_OPENING_TOKENS = 8


def quick_compare(
    dense: LoadedModel,
    pruned: LoadedModel,
    prompt: str | None = None,
    seed: int = 0,
    *,
    spec: PruneOptions | None = None,
    length: int = _LENGTH,
    progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """Measure the effect of pruning on a few texts, 4 masks each, and generate one greedy text with both models.

    Args:
        dense: The dense model.
        pruned: The pruned model.
        prompt: The prompt of both; default: the opening of a demo story for the demo models, else the first tokens of
            the first text that is measured.
        seed: Seed of the masks and texts.
        spec: The pruning, which names the texts (`sap_core.evaluation.texts.pruning_texts`): up to 32 that are given or
            that calibration left, else 8. None: demo stories for a demo model, else texts the dense model writes.
        length: Tokens of the text, prompt included, written in at most 64 steps, in blocks of 32 tokens.
        progress: Called after every unit of work.

    Returns:
        {"prompt", "texts": what was measured on (`TextSet.describe`), "draws" (masks per text) and
        "text_seed" (of texts and masks), "dense": {"text", "likelihood"}, "pruned": the
        same, "difference": pruned minus dense on the same masks, "kl": from dense to pruned on the same masks, both
        {"nats_per_token", "standard_error", "low", "high"}, "same_tokens": share of positions at which both wrote the
        same token}. A model without tokenizer has no prompt and no text. What was measured on the dense model is
        remembered. A model that denoises random tokens has no likelihood here: nothing is measured, {} is returned.

    Raises:
        InvalidInput: a prompt longer than the length; texts that can't be read or that the model does not know.
    """
    texts = quality_texts(dense, spec, seed)
    if texts is None:
        return {}
    if prompt is None and dense.tokenizer is not None:
        prompt = _STORY_OPENING if knows_stories(dense) else _opening(dense, texts)
    key = ("quick", prompt, seed, length, spec)
    shown, written, losses = memoize(
        dense.module, key, lambda: _measure(dense, texts, prompt, seed, length, None, progress)
    )
    new_shown, new_written, new_losses = _measure(pruned, texts, prompt, seed, length, dense, progress)
    equal = sum(a == b for a, b in zip(written, new_written, strict=False))
    return {
        "prompt": prompt,
        "texts": texts.describe(),
        "draws": _DRAWS,
        "text_seed": seed,
        "dense": {"text": shown, "likelihood": losses.summary()},
        "pruned": {"text": new_shown, "likelihood": new_losses.summary()},
        "difference": new_losses.minus(losses),
        "kl": new_losses.divergence(),
        "same_tokens": equal / max(len(written), len(new_written), 1),
    }


def shown_generation(model: LoadedModel, prompt: str, seed: int = 0, length: int = _LENGTH) -> SamplingOptions:
    """Return the options of the generation that `quick_compare` shows, for recording the same one."""
    length = min(length, model.info.max_length or length)
    to_write = length - len(model.encode(prompt))
    steps = max(1, min(_STEPS, to_write)) if model.is_diffusion else None
    return generation_options(model, length=length, steps=steps, block_length=STORY_BLOCK, seed=seed)


def quality_texts(dense: LoadedModel, spec: PruneOptions | None, seed: int) -> TextSet | None:
    """Return the texts of a quick comparison, cached; None for a model that denoises random tokens.

    No likelihood of such a model is known here. Called before a pruning, it reports errors in the texts early.

    Raises:
        InvalidInput: as `pruning_texts`.
    """
    if dense.is_diffusion and not dense.info.row.has_mask:
        return None
    return memoize(dense.module, ("quick texts", seed, spec), lambda: _quality_texts(dense, spec, seed))


def _quality_texts(dense: LoadedModel, spec: PruneOptions | None, seed: int) -> TextSet:
    if spec is not None:
        given = spec.text_source is not None or not spec.calibration_source.is_demo
        samples = _GIVEN_TEXTS if given else _TEXTS
        return pruning_texts(dense, spec, samples=samples, seed=seed)
    if dense.tokenizer is not None and knows_stories(dense):
        return evaluation_texts(dense, None, samples=_TEXTS, seed=seed)
    return written_texts(dense, samples=_TEXTS, seed=seed)


def _opening(model: LoadedModel, texts: TextSet) -> str:
    row = texts.rows[0]
    stop = row.scored.nonzero()[0][:_OPENING_TOKENS][-1] + 1
    return model.decode(row.tokens[:stop].tolist())


def _measure(
    model: LoadedModel,
    texts: TextSet,
    prompt: str | None,
    seed: int,
    length: int,
    reference: LoadedModel | None,
    progress: ProgressCallback,
) -> tuple[str | None, list[int], Losses]:
    """Return (the whole text, the token ids written behind the prompt, the losses)."""
    losses = text_likelihood(model, texts.rows, draws=_DRAWS, seed=seed, reference=reference, progress=progress)
    if prompt is None:
        return None, [], losses
    asked = shown_generation(model, prompt, seed, length)
    settings = {"length": asked.length, "steps": asked.steps, "block_length": asked.block_length, "seed": asked.seed}
    written = generate(model, [prompt], **settings)
    end = model.tokenizer.eos_token_id
    behind = written.row(0, end)
    text = model.decode(written.tokens[0].tolist()[: written.starts[0]] + behind)
    return text, behind, losses
