"""`ablate_sinks`: what it costs if heads can't attend to their sinks, beside controls (arXiv 2510.15731, Table 1)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..evaluation.tasks import knows_stories
from ..evaluation.texts import evaluation_texts
from ..progress import ProgressCallback, silent
from ..specs import AblateSinksSpec, asked_spec
from .ablated import ablated
from .records import check_place, opened
from .selection import MASS, RANDOM, SINKS, Choice
from .text_effect import text_effect
from .writing_effect import WHOLE, continued_texts, task_effect, text_agreement

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..runs.reading import Run
    from ..texts.rows import TextRow


def ablate_sinks(
    model: LoadedModel | str,
    text: str | None = None,
    *,
    out: str | os.PathLike | None = None,
    spec: AblateSinksSpec | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> Run:
    """Block the sinks of each head, and other positions as controls, and measure loss, KL, tasks and agreement.

    A blocked position can't be attended to: its score is minus infinity and the rest is renormalised
    (`sap_core.attention.blocking`). Which positions are sinks is read, at each step, from a pass of the unchanged model
    over the same tokens. The controls are `sap_core.interventions.selection`'s: as many other positions, and other
    positions that received as much attention.

    Args:
        model: A `LoadedModel`, or what `load_model` takes.
        text: FILE.txt (one text per line), FILE.jsonl, FILE.npy, dataset:NAME or demo; default: held-out demo stories.
        out: A new folder, or that of the same measurement, which is continued; None creates one among the runs.
        spec: In place of the other fields.
        progress: Called after every forward pass.
        **fields: Those of `AblateSinksSpec`: top, rule, by, what, heads, each_head, tasks, generate, parts, samples ...

    Returns:
        The finished run. Its ``result``: {"model", "objective", "texts" (`TextSet.describe`), "draws", "intact"
            ("likelihood", "tasks"), "conditions", one for each kind and number: "kind" (sinks, random, mass), "top",
            "head" (None: all), "positions" (mean number that a head can't attend to), "mass" (mean attention they
            received), "likelihood", "difference" and "kl" (nats_per_token, standard_error, low, high; paired with the
            unchanged model), "levels" (the difference at each level of masking), "tasks" (each with its paired
            "difference") and "agreement" (same_tokens with low and high, same_texts); "parts": the agreement when
            blocked in one part of the generation alone, with "part" (from, to)}.

    Raises:
        InvalidInput: a file, model or head that can't be used; more sinks than half of the shortest text; tasks of a
            model that does not know them; ``out`` holds something else; a spec together with fields.
        OperationFailed: the model's attention can't be recorded.
    """
    from ..models.loading import as_loaded

    spec = asked_spec(AblateSinksSpec.given, model, spec, {"text": text} | fields)
    done = check_place(spec, out)
    if done is not None:
        return done
    if spec.text_source is not None:
        spec.text_source.check()
    loaded = as_loaded(model, **spec.loading)
    if spec.tasks and not knows_stories(loaded):
        raise InvalidInput(f"tasks are of the demo's stories, which {loaded.info.ref} does not know; leave them out.")
    if spec.parts and not loaded.is_diffusion:
        raise InvalidInput(f"parts are of denoising steps, which {loaded.info.ref} does not have; leave them out.")
    texts = evaluation_texts(loaded, spec.text_source, samples=spec.samples, seed=spec.seed)
    _check_top(spec, texts.rows)
    with ablated(loaded, what=spec.what, rule=spec.sink_rule, heads=spec.heads, seed=spec.seed) as twin:
        conditions = conditions_of(spec, twin.recorder.layers, twin.recorder.heads)
        with opened(spec, loaded.info, out) as records:
            effect = text_effect(
                twin, texts.rows, conditions, records, draws=spec.draws, seed=spec.seed, by=spec.by, progress=progress
            )
            found = [
                {"kind": choice.kind, "top": choice.top, "head": choice.head} | effect.of(number)
                for number, choice in enumerate(conditions)
            ]
            result: dict[str, Any] = {
                "model": loaded.info.ref,
                "objective": loaded.info.objective,
                "what": spec.what,
                "by": spec.by,
                "texts": texts.describe(),
                "draws": spec.draws if loaded.is_diffusion else None,
                "intact": {"likelihood": effect.intact(), "tasks": None},
                "conditions": found,
                "parts": [],
            }
            whole = [choice for choice in conditions if choice.head is None]
            if spec.tasks:
                intact, tasks = task_effect(twin, whole, records, examples=spec.samples, by=spec.by, progress=progress)
                result["intact"]["tasks"] = intact
                for one, scores in zip(found, tasks, strict=False):
                    one["tasks"] = scores
            if spec.generate and loaded.tokenizer is not None:
                some = texts.rows[: spec.generate]
                result["parts"] = _agreements(twin, some, whole, found, records, spec, progress)
            return records.finish(result)


def conditions_of(spec: AblateSinksSpec, layers: Sequence[int], heads: int) -> list[Choice]:
    """Return what is blocked, condition by condition: those of all heads first, by number of sinks."""
    kinds = (SINKS, RANDOM, MASS) if spec.controls else (SINKS,)
    result = [Choice(kind, top) for top in sorted(spec.top) for kind in (kinds if top else (SINKS,))]
    if spec.each_head:
        first = min(top for top in spec.top if top)
        asked = spec.heads or tuple((layer, head) for layer in layers for head in range(heads))
        result += [Choice(kind, first, head) for head in asked for kind in kinds[:2]]
    return result


def _agreements(
    twin: Any,
    rows: Sequence[TextRow],
    whole: Sequence[Choice],
    found: list[dict[str, Any]],
    records: Any,
    spec: AblateSinksSpec,
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Add the agreement of every condition to ``found``, and return that of each part of the generation."""
    first = min(top for top in spec.top if top)
    edges = [(number / spec.parts, (number + 1) / spec.parts) for number in range(spec.parts)]
    parts = [(choice, part) for choice in whole if choice.top == first for part in edges]
    cases = [(None, WHOLE), *((choice, WHOLE) for choice in whole), *parts]
    intact, *texts = continued_texts(twin, rows, cases, records, by=spec.by, progress=progress)
    for one, text in zip(found, texts, strict=False):
        one["agreement"] = text_agreement(intact, text)
    return [
        {"kind": choice.kind, "top": choice.top, "part": list(part), "agreement": text_agreement(intact, text)}
        for (choice, part), text in zip(parts, texts[len(whole) :], strict=True)
    ]


def _check_top(spec: AblateSinksSpec, rows: Sequence[TextRow]) -> None:
    """Raise InvalidInput if a text has no other positions left for the controls."""
    shortest, most = min(len(row.tokens) for row in rows), max(spec.top)
    if most > shortest // 2:
        raise InvalidInput(
            f"top is {most} but the shortest text has {shortest} tokens: at most half of them, {shortest // 2}, can be "
            "blocked, so that the controls have as many others; give fewer or longer texts."
        )
