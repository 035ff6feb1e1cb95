"""`evaluate`: quality and cost of a model as one JSON-able document, beside a baseline if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..progress import ProgressCallback, silent
from ..specs import EvaluateSpec, asked_spec, check_same_model, model_reference
from .comparison import agreement, continuations, variety
from .cost import generation_speed, layer_sparsity, model_size, speedup
from .likelihood import Losses, text_likelihood
from .memory import peak_memory
from .tasks import knows_stories, task_scores
from .texts import evaluation_texts

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..texts.rows import TextRow

RATIOS = ("peak_memory", "parameters", "nonzero_parameters", "bytes")


def evaluate(
    model: LoadedModel | str,
    baseline: LoadedModel | str | None = None,
    text: str | None = None,
    *,
    spec: EvaluateSpec | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> dict[str, Any]:
    """Measure likelihood with standard error, task scores, variety of its texts, speed, memory and size of ``model``.

    With a ``baseline``: the same of it, the paired difference of the likelihoods and the KL divergence from it (same
    texts, same masks) with standard errors, agreement of their greedy texts, and ratios of cost from runs in turns.

    Args:
        model: A `LoadedModel`, or what `load_model` takes.
        baseline: The model to compare with, such as the dense one.
        text: FILE.txt (one text per line), FILE.jsonl, FILE.npy, dataset:NAME or demo; default: held-out demo stories.
        spec: In place of the other fields.
        progress: Called after every unit of work.
        **fields: Those of `EvaluateSpec`: samples, draws, join, column, tasks, seed, device ...

    Returns:
        {"model", "texts" (`TextSet.describe`: number, source, tokens, cut, dropped, fraction unknown), "likelihood",
            "tasks", "generation" (distinct n-grams of its texts), "tokens_per_second", "seconds" of one whole
            generation, "peak_memory", "parameters", "nonzero_parameters", "bytes", "layers" (zeros and sparsity counted
            in each layer's matrices)}, and with a baseline "baseline" (the same keys), "difference" and "kl"
            (nats_per_token, standard_error, low, high), "agreement" (fraction of equal tokens and texts), "ratios"
            (model to baseline) and "speedup" with "speedup_low" and "speedup_high" (see `cost.speedup`). "tasks" is
            None if the model does not know the corpus or they were not asked for.

    Raises:
        InvalidInput: a file or a model that can't be used; more than 5 % of the tokens unknown to the model; a baseline
            with another tokenizer or objective; a spec together with fields.
    """
    base = model_reference(baseline)
    if spec is not None and base is not None:
        check_same_model(base, spec.baseline, "baseline")
    given = {"text": text, "baseline": base if spec is None else None} | fields
    spec = asked_spec(EvaluateSpec.given, model, spec, given)
    if spec.text_source is not None:
        spec.text_source.check()
    models = _models(model, spec.baseline if baseline is None else baseline, spec)
    texts = [evaluation_texts(m, spec.text_source, samples=spec.samples, seed=spec.seed) for m in models]
    rows = [found.rows for found in texts]
    if len(models) == 2:
        _check_pair(models, rows)
    references = [*models[1:], None]  # the baseline has none
    losses = [
        text_likelihood(m, r, draws=spec.draws, seed=spec.seed, reference=reference, progress=progress)
        for m, r, reference in zip(models, rows, references, strict=True)
    ]
    speeds = generation_speed(models) if all(m.tokenizer is not None for m in models) else [{}] * len(models)
    documents = [
        _document(m, loss, speed, spec, progress) for m, loss, speed in zip(models, losses, speeds, strict=True)
    ]
    for document, found in zip(documents, texts, strict=True):
        document["texts"] = found.describe()
    writes = spec.generate and all(m.tokenizer is not None for m in models)
    written = [continuations(m, r[: spec.generate]) for m, r in zip(models, rows, strict=True)] if writes else []
    for document, own in zip(documents, written, strict=False):
        document["generation"] = variety(own)
    result = documents[0]
    if len(documents) == 2:
        result |= _beside(result, documents[1], losses, speeds)
        if written:
            result["agreement"] = agreement(*written)
    return result


def _beside(
    own: dict[str, Any], baseline: dict[str, Any], losses: list[Losses], speeds: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what is measured of a model against its baseline."""
    found = {
        "baseline": baseline,
        "difference": losses[0].minus(losses[1]),
        "kl": losses[0].divergence(),
        "ratios": {key: own[key] / baseline[key] for key in RATIOS if own[key] is not None and baseline[key]},
    }
    return found | (speedup(speeds[0], speeds[1]) if speeds[0] else {})


def _models(model: LoadedModel | str, baseline: LoadedModel | str | None, spec: EvaluateSpec) -> list[LoadedModel]:
    """Return the model and, if there is one, the baseline; one object if they are the same."""
    models = [_loaded(model, spec, keep=spec.keep, adapter=spec.adapter)]
    if baseline is not None:
        same = isinstance(model, str) and baseline == model and spec.keep is None and spec.adapter is None
        models.append(models[0] if same else _loaded(baseline, spec))
    return models


def _document(
    model: LoadedModel, losses: Losses, speed: dict[str, Any], spec: EvaluateSpec, progress: ProgressCallback
) -> dict[str, Any]:
    tasks = None
    if spec.tasks and knows_stories(model):
        tasks = task_scores(model, examples=spec.samples, progress=progress)
    return {
        "model": model.info.ref,
        "objective": model.info.objective,
        "likelihood": losses.summary(),
        "tasks": tasks,
        "generation": None,
        "tokens_per_second": speed.get("tokens_per_second"),
        "seconds": speed.get("seconds"),
        "peak_memory": peak_memory(model),
        **model_size(model),
        "layers": layer_sparsity(model),
    }


def _loaded(model: LoadedModel | str, spec: EvaluateSpec, **own: Any) -> LoadedModel:
    """Return a loaded model; the spec's adapter and share of an elastic checkpoint are no baseline's."""
    from ..models.loading import as_loaded

    return as_loaded(model, **{**spec.loading, "keep": None, "adapter": None, **own})


def _check_pair(models: list[LoadedModel], rows: list[list[TextRow]]) -> None:
    same = len(rows[0]) == len(rows[1]) and all(
        a.tokens.shape == b.tokens.shape and (a.tokens == b.tokens).all() for a, b in zip(*rows, strict=True)
    )
    same = same and models[0].info.vocab_size == models[1].info.vocab_size
    if models[0].info.objective != models[1].info.objective or not same:
        raise InvalidInput(
            f"{models[0].info.ref} and {models[1].info.ref} can't be compared pair by pair: they need one objective "
            "and one tokenizer; evaluate each alone."
        )
