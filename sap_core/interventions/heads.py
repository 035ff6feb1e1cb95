"""`ablate_heads`: the loss without each head, and which ranking of heads would have been best."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

from ..errors import InvalidInput
from ..evaluation.likelihood import Losses, ScoredPass, scored_passes
from ..evaluation.texts import evaluation_texts
from ..progress import Progress, ProgressCallback, silent
from ..sinks.instability import COMPONENTS
from ..sinks.intervals import ratio_interval
from ..sinks.rank_agreement import rank_agreement, spearman
from ..specs import AblateHeadsSpec, asked_spec
from .head_curves import curves, greedy_group, orders_of, set_losses
from .head_losses import HeadLosses, check_heads, rows_at_once
from .head_rankings import INSTABILITY, Ranking, head_rankings
from .records import Records, check_place, opened

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..runs.reading import Run

MEASURED, GREEDY = "measured", "greedy"
FOLDS = 5


def ablate_heads(
    model: LoadedModel | str,
    text: str | None = None,
    *,
    out: str | os.PathLike | None = None,
    spec: AblateHeadsSpec | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> Run:
    """Leave out each head in turn, measure the damage, and compare it with the instability and other scores.

    Damage of a head: the paired difference of the loss with and without it on the same texts and masks, at ``draws``
    levels of masking (METRICS section 9). Curves and greedy groups are chosen on every second text and measured on the
    others, so that no ranking is judged by the texts that made it. `sap_core.prune` follows the ranking with method
    "measured" and this run.

    Args:
        model: A `LoadedModel`, or what `load_model` takes.
        text: FILE.txt (one text per line), FILE.jsonl, FILE.npy, dataset:NAME or demo; default: held-out demo stories.
        out: A new folder, or that of the same measurement, which is continued; None creates one among the runs.
        spec: In place of the other fields.
        progress: Called after every forward pass.
        **fields: Those of `AblateHeadsSpec`: run, scores, greedy, curves, samples, draws, seed ...

    Returns:
        The finished run. Its ``result``: {"model", "objective", "texts", "draws", "intact" (the loss of the model as it
            is), "heads", one for each: "layer", "head", "damage" (nats_per_token, standard_error, low, high), "levels"
            (damage at each level of masking), "scores" (each by name); "agreement": how far each score ranks the heads
            as the damage does ("spearman" and "kendall" with low and high, positive where what the score keeps is what
            matters); "fit": weights of the instability's components fitted to the damage, judged on heads and texts
            that did not make them; "greedy": heads in the order in which they go; "curves": by ranking, the difference
            against the number of heads left out}.

    Raises:
        InvalidInput: a file, model or capture that can't be used; ``out`` holds something else; a spec with fields.
    """
    from ..models.loading import as_loaded

    spec = asked_spec(AblateHeadsSpec.given, model, spec, {"text": text} | fields)
    done = check_place(spec, out)
    if done is not None:
        return done
    if spec.text_source is not None:
        spec.text_source.check()
    loaded = as_loaded(model, **spec.loading)
    heads = check_heads(loaded)
    if spec.greedy > len(heads) - len({layer for layer, _ in heads}):
        raise InvalidInput(f"greedy is {spec.greedy} but one head of each layer stays; {len(heads)} heads in all.")
    texts = evaluation_texts(loaded, spec.text_source, samples=spec.samples, seed=spec.seed)
    if len(texts.rows) < 2:
        raise InvalidInput("one text is too little: rankings are made on one half and judged on the other; give more.")
    first, second = texts.rows[::2], texts.rows[1::2]
    longest = max(len(row.tokens) for row in texts.rows)
    limit = rows_at_once(loaded, longest)
    halves = [
        list(scored_passes(loaded, rows, draws=spec.draws, seed=spec.seed + place, at_once=limit))
        for place, rows in enumerate((first, second))
    ]
    counted = [np.array([row.counted for row in rows]) for rows in (first, second)]
    rankings = head_rankings(loaded, spec, heads, [*halves[0], *halves[1]], progress)
    with opened(spec, loaded.info, out) as records:
        losses = HeadLosses(loaded)
        measured = [
            _Half(*_single(losses, passes, heads, records, name, len(count), spec.draws, progress), count)
            for passes, count, name in zip(halves, counted, ("first", "second"), strict=True)
        ]
        result = _document(loaded, spec, heads, rankings, measured) | {
            "texts": texts.describe(),
            "draws": spec.draws if loaded.is_diffusion else None,
            "greedy": [],
            "curves": [],
        }
        fitted = _fit(rankings, measured)
        result["fit"] = fitted
        made = {ranking.name: ranking.value for ranking in rankings if ranking.name not in COMPONENTS}
        made[MEASURED] = measured[0].damage
        orders = orders_of(made, heads, spec.seed) if spec.curves else {}
        if spec.greedy:
            group = greedy_group(
                losses, halves[0], measured[0].damage, heads, spec.greedy, records, len(first), progress
            )
            result["greedy"] = _along(losses, halves[1], group, records, counted[1], progress)
            rest = [head for head in orders.get(MEASURED, []) if head not in group]
            if spec.curves:
                orders = {MEASURED: orders[MEASURED], GREEDY: [*group, *rest]} | orders
        if spec.curves:
            result["curves"] = curves(losses, halves[1], orders, records, counted[1], progress)
        return records.finish(result)


class _Half:
    """What was measured on one half of the texts: ``extra`` nats (head, text, draw), ``intact`` nats (text, draw)."""

    def __init__(self, extra: np.ndarray, intact: np.ndarray, counted: np.ndarray) -> None:
        self.extra, self.intact, self.counted = extra, intact, counted

    @property
    def damage(self) -> Float[np.ndarray, " head"]:
        """Nats per token that each head's removal costs."""
        return self.extra.mean(2).sum(1) / self.counted.sum()


def _single(
    losses: HeadLosses,
    passes: Sequence[ScoredPass],
    heads: list[tuple[int, int]],
    records: Records,
    name: str,
    texts: int,
    draws: int,
    progress: ProgressCallback,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (extra, intact) of a `_Half`: layer by layer, so that an interruption loses one layer of one pass."""
    drawn = draws if losses.model.is_diffusion else 1
    extra, intact = np.zeros((len(heads), texts, drawn)), np.zeros((texts, drawn))
    total, layers = len(passes) * len(heads), sorted({layer for layer, _ in heads})
    done = 0
    for number, some in enumerate(passes):
        begun: list[np.ndarray] = []  # the intact loss, once this pass was run in this process

        def measure(layer: int, some: ScoredPass = some, begun: list[np.ndarray] = begun, at: int = 0) -> dict:
            if not begun:
                begun.append(losses.begin(some))
            found = []
            for place, (_, head) in enumerate(pair for pair in heads if pair[0] == layer):
                found.append(losses.without([(layer, head)]))
                progress(Progress("heads", at + place + 1, total, "Leaving out every head"))
            return {"intact": begun[0], "without": found}

        for layer in layers:
            places = [place for place, pair in enumerate(heads) if pair[0] == layer]
            found = records.get(
                f"{name}-{number:05d}-{layer:04d}", lambda layer=layer, measure=measure, at=done: measure(layer, at=at)
            )
            before = np.asarray(found["intact"])
            intact[some.texts, some.draws] = before
            for place, without in zip(places, found["without"], strict=True):
                extra[place, some.texts, some.draws] = np.asarray(without) - before
            done += len(places)
            progress(Progress("heads", done, total, "Leaving out every head"))
    return extra, intact


def _document(
    model: LoadedModel,
    spec: AblateHeadsSpec,
    heads: list[tuple[int, int]],
    rankings: list[Ranking],
    measured: list[_Half],
) -> dict[str, Any]:
    extra = np.concatenate([half.extra for half in measured], 1)
    counted = np.concatenate([half.counted for half in measured])
    intact = np.concatenate([half.intact for half in measured]).mean(1)
    draws = extra.shape[2]
    rows = []
    for place, (layer, head) in enumerate(heads):
        levels = [
            {"masked": [draw / draws, (draw + 1) / draws]}
            | ratio_interval(extra[place, :, draw], counted).named("nats_per_token")
            for draw in range(draws if model.is_diffusion else 0)
        ]
        rows.append(
            {
                "layer": layer,
                "head": head,
                "damage": ratio_interval(extra[place].mean(1), counted).named("nats_per_token"),
                "levels": levels,
                "scores": {ranking.name: float(ranking.shown[place]) for ranking in rankings},
            }
        )
    agreement = [
        {"score": ranking.name, "title": ranking.title}
        | rank_agreement(ranking.value, extra.mean(2), counted, seed=spec.seed).to_dict()
        for ranking in rankings
    ]
    kind = "bound" if model.is_diffusion else "exact"
    return {
        "model": model.info.ref,
        "objective": model.info.objective,
        "intact": Losses(intact, counted, kind).summary(),
        "heads": rows,
        "agreement": agreement,
    }


def _fit(rankings: list[Ranking], measured: list[_Half]) -> dict[str, Any]:
    """Return weights of the instability's components that rank the heads as the damage on the first half does.

    Non-negative least squares of the rank of the damage on the components, both centred. They are judged on what did
    not make them: the heads are left out fold by fold, and the scores they get are compared with the damage on the
    second half.
    """
    by_name = {ranking.name: ranking for ranking in rankings}
    parts = np.stack([by_name[name].value for name in COMPONENTS], 1)
    target = np.argsort(np.argsort(measured[0].damage, kind="stable"), kind="stable").astype(float)
    folds = np.random.default_rng(0).permutation(len(target)) % FOLDS
    guessed = np.zeros(len(target))
    for fold in range(FOLDS):
        out = folds == fold
        if out.all() or not out.any():
            continue
        weights = _weights(parts[~out], target[~out])
        guessed[out] = (parts[out] - parts[~out].mean(0)) @ weights
    weights = _weights(parts, target)
    total = weights.sum()
    extra, counted = measured[1].extra.mean(2), measured[1].counted
    return {
        "weights": dict(zip(COMPONENTS, (weights / total).tolist(), strict=True)) if total else None,
        "fitted": rank_agreement(guessed, extra, counted).to_dict(),
        "equal": rank_agreement(by_name[INSTABILITY].value, extra, counted).to_dict(),
        "halves": spearman(measured[0].damage, measured[1].damage),
    }


def _weights(parts: Float[np.ndarray, "head part"], target: Float[np.ndarray, " head"]) -> Float[np.ndarray, " part"]:
    return nnls(parts - parts.mean(0), target - target.mean())[0]


def _along(
    losses: HeadLosses,
    passes: Sequence[ScoredPass],
    group: list[tuple[int, int]],
    records: Records,
    counted: Int[np.ndarray, " text"],
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Return the loss difference after each head of a group, in the order in which they go."""
    sets = {str(number): group[: number + 1] for number in range(len(group))}
    extra = set_losses(losses, passes, sets, records, "group", len(counted), progress, "Greedy group")
    return [
        {
            "layer": layer,
            "head": head,
            "difference": ratio_interval(extra[str(number)], counted).named("nats_per_token"),
        }
        for number, (layer, head) in enumerate(group)
    ]
