"""`SinkAwarePruner`: from a wish (so much faster, at most so much worse) to a model that meets it, or to the reason why
none does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput, OperationFailed
from ..evaluation.cost import generation_speed
from ..evaluation.likelihood import Losses, text_likelihood
from ..evaluation.texts import story_rows
from ..progress import Progress, ProgressCallback, silent
from .apply import Pruned, prune
from .calibration import DEMO, Calibration
from .heads import rank_on_demo_prompt
from .methods import METHODS
from .units import Shape, supported_units

if TYPE_CHECKING:
    import pandas as pd

    from ..models.loaded import LoadedModel

IN_MEMORY = "given in memory"
_VALIDATION_TEXTS = 16
_DRAWS = 4
_CHANNEL_STEPS = 8  # channels are tried in eighths


@dataclass(frozen=True)
class Candidate:
    """One shape that was tried: the share of each unit taken out, what it gained and what it cost.

    ``speedup``: measured time of the dense model over its own, a whole generation; ``drop``: rise of the nats per
    token on validation stories, as a share of the dense model's, None where it was not measured.
    """

    heads: float = 0.0
    channels: float = 0.0
    layers: float = 0.0
    speedup: float | None = None
    drop: float | None = None

    def units(self) -> dict[str, float]:
        """The units it takes out, whole layers first, and the share of each."""
        return {unit: share for unit in ("layers", "heads", "channels") if (share := getattr(self, unit)) > 0}

    def describe(self) -> str:
        """Its shares, gain and cost in words."""
        parts = [f"{share:.0%} of the {unit}" for unit, share in self.units().items()] or ["nothing"]
        gain = f", {self.speedup:.2f} x as fast" if self.speedup is not None else ""
        cost = f", loss {self.drop:+.1%}" if self.drop is not None else ""
        return f"without {' and '.join(parts)}{gain}{cost}"


class NoSuchPlan(OperationFailed):
    """No shape is fast enough and good enough at once.

    ``fast``: the best of those that are fast enough; ``good``: the fastest of those that are good enough; either may
    be None. ``tried``: all of them.
    """

    def __init__(self, wish: str, fast: Candidate | None, good: Candidate | None, tried: tuple[Candidate, ...]) -> None:
        self.fast, self.good, self.tried = fast, good, tried
        nearest = "; ".join(
            f"{title}: {candidate.describe()}" if candidate else f"{title}: none"
            for title, candidate in (("fast enough", fast), ("good enough", good))
        )
        super().__init__(f"No plan is {wish} on this machine. {nearest}. Ask for less speed or allow more loss.")


class SinkAwarePruner:
    """Analyse, prune to a target, evaluate; the model that is given stays as it is.

    Args:
        model: a `LoadedModel`, or what `load_model` takes.
        calibration_data: "demo", FILE.txt, FILE.npy, int64 token ids (samples, length), or None for the demo corpus.
        samples: calibration sequences, where the source has more.
        seed: of calibration, validation masks and everything drawn.
    """

    def __init__(
        self,
        model: LoadedModel | str,
        calibration_data: str | np.ndarray | None = None,
        *,
        samples: int = 32,
        seed: int = 0,
    ) -> None:
        if isinstance(model, str):
            from ..models.loading import load_model

            model = load_model(model)
        self.model = model
        self.samples, self.seed = samples, seed
        self._texts = _given(calibration_data, model) if isinstance(calibration_data, np.ndarray) else None
        self._source = calibration_data if isinstance(calibration_data, str) else DEMO
        self._ranking: pd.DataFrame | None = None

    def analyze_attention_dynamics(self, *, progress: ProgressCallback = silent) -> pd.DataFrame:
        """How much every head's sinks move during a generation: the table of `sap_core.rank_heads`, most unstable
        first. Measured once."""
        if self._ranking is None:
            self._ranking = rank_on_demo_prompt(self.model, self.seed, progress)
        return self._ranking

    def prune(
        self,
        target_speedup: float = 1.3,
        quality_drop_threshold: float = 0.05,
        *,
        method: str = "sink",
        progress: ProgressCallback = silent,
    ) -> Pruned:
        """The best model that generates ``target_speedup`` times as fast and loses at most the threshold.

        Heads, channels, layers, and heads with channels are each taken out step by step until a whole generation,
        measured on this machine in turns with the dense model, is fast enough. Of the shapes that are, the one with
        the lowest loss is returned. Heads go by the instability of their sinks, channels and layers by ``method``, or
        by sink where it has no such pattern.
        The result's report lists every shape that was tried under "search".

        Args:
            quality_drop_threshold: largest rise of the nats per token on held-out stories, as a share of the dense
                model's.

        Raises:
            InvalidInput: a target of 1 or less, a negative threshold, a model that no units can be taken out of.
            NoSuchPlan: both can't be met; says what comes nearest on either side.
        """
        if target_speedup <= 1:
            raise InvalidInput(f"target_speedup is {target_speedup:g}; expected more than 1, such as 1.3.")
        if quality_drop_threshold < 0:
            raise InvalidInput(f"quality_drop_threshold is {quality_drop_threshold:g}; expected a share such as 0.05.")
        if self.model.tokenizer is None:
            raise InvalidInput(f"{self.model.info.ref} has no tokenizer, so generation can't be timed.")
        families = _families(self.model)
        tried: list[Candidate] = []
        weaker: list[Candidate] = []
        for done, family in enumerate(families):
            measured = self._until_fast_enough(family, target_speedup)
            tried += measured[-2:]
            weaker += measured[:-2]
            progress(Progress("search", done + 1, 2 * len(families), message=tried[-1].describe()))
        best: tuple[Candidate, Pruned] | None = None
        for place, candidate in enumerate(tried):
            pruned = self._built(candidate, method, progress)
            tried[place] = candidate = replace(candidate, drop=self._drop(pruned.model))
            progress(Progress("search", len(families) + place, len(families) + len(tried), candidate.describe()))
            meets = candidate.speedup >= target_speedup and candidate.drop <= quality_drop_threshold
            if meets and (best is None or candidate.drop < best[0].drop):
                best = candidate, pruned
        if best is None:
            tried += self._good_enough(tried, weaker, method, quality_drop_threshold)
            wish = f"{target_speedup:g} x as fast with at most {quality_drop_threshold:.0%} more loss"
            raise NoSuchPlan(wish, *_nearest(tried, target_speedup, quality_drop_threshold), tuple(tried))
        chosen, pruned = best
        search = {"chosen": chosen.__dict__, "tried": [candidate.__dict__ for candidate in tried]}
        return replace(pruned, report=pruned.report | {"search": search})

    def evaluate(
        self, pruned_model: Pruned | LoadedModel, test_data: str | list[str] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """`sap_core.evaluate` of the pruned model beside the dense one: quality, tasks, speed, size.

        ``test_data``: a text file, or texts; None takes held-out stories. ``fields``: those of `EvaluateSpec`.
        """
        from ..evaluation.verb import evaluate

        model = pruned_model.model if isinstance(pruned_model, Pruned) else pruned_model
        fields = {"seed": self.seed} | fields
        if not isinstance(test_data, list):
            return evaluate(model, self.model, test_data, **fields)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "texts.txt"
            path.write_text("\n\n".join(test_data), encoding="utf-8")
            return evaluate(model, self.model, str(path), **fields)

    def _until_fast_enough(self, family: list[Candidate], target: float) -> list[Candidate]:
        """The shapes of a family, weakest first, up to the first that reaches the target, with their speed."""
        measured: list[Candidate] = []
        for candidate in family:
            # Speed does not depend on which units are gone, so the shape alone is built for it.
            measured.append(replace(candidate, speedup=self._speedup(self._built(candidate, "random", silent).model)))
            if measured[-1].speedup >= target:
                break
        return measured

    def _good_enough(
        self, tried: list[Candidate], weaker: list[Candidate], method: str, threshold: float
    ) -> list[Candidate]:
        """Shapes weaker than those tried, fastest first, up to the first that loses no more than the threshold: what
        comes nearest on the side of quality."""
        if any(candidate.drop <= threshold for candidate in tried):
            return []
        looked_at: list[Candidate] = []
        for candidate in sorted(weaker, key=lambda one: -one.speedup):
            looked_at.append(replace(candidate, drop=self._drop(self._built(candidate, method, silent).model)))
            if looked_at[-1].drop <= threshold:
                break
        return looked_at

    def _built(self, candidate: Candidate, method: str, progress: ProgressCallback) -> Pruned:
        """The model without the candidate's units, one kind after the other."""
        pruned, model = None, self.model
        for unit, share in candidate.units().items():
            by = method if unit in METHODS[method].patterns else "sink"
            by = "heads" if unit == "heads" and method != "random" else by
            fields = {"method": by, "pattern": unit, "sparsity": share, "samples": self.samples, "seed": self.seed}
            pruned = prune(model, texts=self._texts, calibration=self._source, progress=progress, **fields)
            model = pruned.model
        return pruned

    def _speedup(self, model: LoadedModel) -> float:
        dense, small = generation_speed([self.model, model])
        return dense["seconds"] / small["seconds"]

    def _drop(self, model: LoadedModel) -> float:
        dense = self._losses(self.model)
        return self._losses(model).minus(dense)["nats_per_token"] / dense.summary()["nats_per_token"]

    def _losses(self, model: LoadedModel) -> Losses:
        from ..remember import remember

        rows = story_rows(
            model.encode,
            samples=_VALIDATION_TEXTS,
            seed=self.seed,
            diffusion=model.is_diffusion,
            fill_id=model.tokenizer.eos_token_id,
            max_length=model.info.max_length,
        )
        return remember(
            model.module,
            ("validation", self.seed),
            lambda: text_likelihood(model, rows, draws=_DRAWS, seed=self.seed),
        )


def _families(model: LoadedModel) -> list[list[Candidate]]:
    """Shapes to try, each family from weak to strong.

    Raises:
        InvalidInput: no unit can be taken out of this model.
    """
    units, shape = supported_units(model.info), Shape.of(model.info)
    if not units:
        raise InvalidInput(
            f"no heads, channels or layers can be taken out of {model.info.title} "
            f"({model.info.native_config.get('model_type')}); prune its weights with sap_core.prune instead."
        )
    eighths = [step / _CHANNEL_STEPS for step in range(1, _CHANNEL_STEPS)]
    families = {
        "channels": [Candidate(channels=share) for share in eighths if int(shape.ffn * share)],
        "layers": [Candidate(layers=gone / shape.layers) for gone in range(1, shape.layers)],
        "heads": [Candidate(heads=gone / shape.kv_heads) for gone in range(1, shape.kv_heads)],
    }
    chosen = [families[unit] for unit in units if families[unit]]
    if {"heads", "channels"} <= set(units) and families["heads"]:
        chosen.append([replace(one, channels=one.heads) for one in families["heads"]])
    return chosen


def _nearest(tried: list[Candidate], target: float, threshold: float) -> tuple[Candidate | None, Candidate | None]:
    """(the best of the fast enough, the fastest of the good enough)."""
    fast = [candidate for candidate in tried if candidate.speedup >= target]
    good = [candidate for candidate in tried if candidate.drop <= threshold]
    return (
        min(fast, key=lambda candidate: candidate.drop, default=None),
        max(good, key=lambda candidate: candidate.speedup, default=None),
    )


def _given(ids: np.ndarray, model: LoadedModel) -> Calibration:
    """Token ids at hand as calibration data; checked like a file of them."""
    from .calibration import check_ids

    check_ids(ids, IN_MEMORY, model.info.vocab_size, model.info.max_length)
    return Calibration(ids, np.ones(ids.shape, bool), IN_MEMORY)
