"""The search for a shape: the speed-up of each, measured on this machine, and its loss on validation texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...choices.methods import METHODS
from ...choices.strategies import PRESETS, Preset
from ...errors import InvalidInput, OperationFailed, required
from ...evaluation.cost import generation_speed, speedup
from ...evaluation.likelihood import Losses, text_likelihood
from ...memoize import memoize
from ...models.resizing.units import Shape, supported_units
from ...progress import Progress, ProgressCallback, silent
from ...specs import PruneSpec
from ..planning.redundant_heads import IGNORE
from ..scoring.calibration import Calibration
from .direct import prune_directly
from .report import Pruned

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel
    from ...texts.rows import TextSet

_DRAWS = 4
_CHANNEL_STEPS = 8  # channels are tried in eighths
_WORST = 1.0  # a family of shapes is followed until the loss has doubled


@dataclass(frozen=True)
class Candidate:
    """One shape that was tried: the fraction of each unit removed, its gain and its loss.

    Attributes:
        speedup: Time of a whole generation of the dense model over its own; None if not measured.
        bytes: Bytes of its weights as a fraction of the dense model's; None if not measured.
        drop: Rise of the nats per token on validation texts, as a fraction of the dense model's; None if not measured.
    """

    heads: float = 0.0
    channels: float = 0.0
    layers: float = 0.0
    speedup: float | None = None
    drop: float | None = None
    bytes: float | None = None

    def units(self) -> dict[str, float]:
        """Return the units it removes, whole layers first, and the fraction of each."""
        return {unit: share for unit in ("layers", "heads", "channels") if (share := getattr(self, unit)) > 0}

    @property
    def gain(self) -> float:
        """Return the measured speed-up.

        Raises:
            OperationFailed: it was not measured.
        """
        return required(self.speedup, "the speed of a shape")

    @property
    def loss(self) -> float:
        """Return the measured drop.

        Raises:
            OperationFailed: it was not measured.
        """
        return required(self.drop, "the loss of a shape")

    def cost(self, preset: Preset) -> float:
        """Return (1 + drop)^quality * cost, which a preset minimises; see `sap_core.choices.strategies.Preset`."""
        cost = required(self.bytes, "the size of a shape") if preset.cost == "bytes" else 1 / self.gain
        return (1 + self.loss) ** preset.quality * cost

    def describe(self) -> str:
        """Return its fractions, gain and loss in words."""
        parts = [f"{share:.0%} of the {unit}" for unit, share in self.units().items()] or ["nothing"]
        gain = f", {self.speedup:.2f} x as fast" if self.speedup is not None else ""
        size = f", {self.bytes:.0%} of the bytes" if self.bytes is not None else ""
        cost = f", loss {self.drop:+.1%}" if self.drop is not None else ""
        return f"without {' and '.join(parts)}{gain}{size}{cost}"


class NoSuchPlan(OperationFailed):
    """No shape is both fast enough and good enough.

    ``fast``: the best of those that are fast enough; ``good``: the fastest of those that are good enough; either may be
    None. ``tried``: all of them.
    """

    def __init__(self, wish: str, fast: Candidate | None, good: Candidate | None, tried: tuple[Candidate, ...]) -> None:
        self.fast, self.good, self.tried = fast, good, tried
        nearest = "; ".join(
            f"{title}: {candidate.describe()}" if candidate else f"{title}: none"
            for title, candidate in (("fast enough", fast), ("good enough", good))
        )
        super().__init__(f"No plan is {wish} on this machine. {nearest}. Ask for less speed or allow more loss.")


class ShapeSearch:
    """Tries shapes of one model; the units are ranked by ``method``.

    Args:
        model: The dense model.
        method: Score of the units; None: the model's default.
        fields: Fields of `PruneSpec` for the calibration texts, their number, and the seed.
        validation: Texts on which the loss of each shape is measured.
        texts: Calibration data in memory.

    Raises:
        InvalidInput: a model without tokenizer, or one that no units can be removed from.
    """

    def __init__(
        self,
        model: LoadedModel,
        method: str,
        fields: dict[str, Any],
        validation: TextSet,
        texts: Calibration | None = None,
        progress: ProgressCallback = silent,
    ) -> None:
        if model.tokenizer is None:
            raise InvalidInput(f"{model.info.ref} has no tokenizer, so generation can't be timed.")
        self.model, self.method, self.fields, self.texts, self.progress = model, method, fields, texts, progress
        self.rows = validation.rows
        self.seed = fields.get("seed", 0)
        self.families = families(model)

    def meet(self, target: float, threshold: float) -> tuple[Candidate, list[Pruned], list[Candidate]]:
        """Find the best shape that is ``target`` times as fast and loses at most ``threshold``.

        Returns:
            The shape, its pruning steps, and all shapes tried.
        """
        tried: list[Candidate] = []
        weaker: list[Candidate] = []
        for done, family in enumerate(self.families):
            measured = self._until_fast_enough(family, target)
            tried += measured[-2:]
            weaker += measured[:-2]
            self.progress(Progress("search", done + 1, 2 * len(self.families), message=tried[-1].describe()))
        best: tuple[Candidate, list[Pruned]] | None = None
        for number, candidate in enumerate(tried):
            steps = self.built(candidate)
            tried[number] = candidate = replace(candidate, drop=self.drop(steps[-1].model))
            done = len(self.families) + number
            self.progress(Progress("search", done, len(self.families) + len(tried), candidate.describe()))
            meets = candidate.gain >= target and candidate.loss <= threshold
            if meets and (best is None or candidate.loss < best[0].loss):
                best = candidate, steps
        if best is None:
            tried += self._good_enough(tried, weaker, threshold)
            wish = f"{target:g} x as fast with at most {threshold:.0%} more loss"
            raise NoSuchPlan(wish, *nearest(tried, target, threshold), tuple(tried))
        return *best, tried

    def choose(self, preset: str) -> tuple[Candidate, list[Pruned], list[Candidate]]:
        """Find the shape that a preset of `sap_core.choices.strategies.PRESETS` picks on the measured curve.

        Returns:
            The shape, its pruning steps, and the curve.
        """
        curve = self.curve()
        chosen = min(curve, key=lambda candidate: candidate.cost(PRESETS[preset]))
        return chosen, self.built(chosen), curve

    def curve(self) -> list[Candidate]:
        """Measure loss, bytes and speed-up of every family of shapes, weak to strong, until the loss doubles."""
        measured: list[Candidate] = []
        total = sum(map(len, self.families))
        for family in self.families:
            for candidate in family:
                small = self.built(candidate)[-1].model
                drop = self.drop(small)
                size = small.info.bytes / self.model.info.bytes
                measured.append(replace(candidate, drop=drop, bytes=size, speedup=self.speedup(small)))
                self.progress(Progress("search", len(measured), total, measured[-1].describe()))
                if drop > _WORST:
                    break
        return measured

    def built(self, candidate: Candidate, *, method: str | None = None) -> list[Pruned]:
        """Remove the candidate's units, one kind after the other; return every step, the last being the result."""
        steps: list[Pruned] = []
        wanted = method or self.method
        for unit, share in candidate.units().items():
            by = wanted if unit in METHODS[wanted].patterns else "sink"
            fields = {**self.fields, "method": by, "pattern": unit, "sparsity": share}
            if method is None and unit != "layers" and by != "flap":
                fields["compensate"] = "weights"
            if unit == "heads" and method is not None:
                fields["duplicates"] = IGNORE  # only the shape is wanted
            elif unit != "heads":
                fields = {name: value for name, value in fields.items() if name not in ("run", "duplicates")}
            model = steps[-1].model if steps else self.model
            spec = PruneSpec.build(model=model.info.ref, **fields)
            steps.append(prune_directly(model, spec, texts=self.texts, progress=self.progress))
        return steps

    def speedup(self, model: LoadedModel) -> float:
        """Return the tokens per second of ``model`` over those of the dense model, timed in turns."""
        dense, small = generation_speed([self.model, model])
        return required(speedup(small, dense)["speedup"], "the speed of a shape")

    def drop(self, model: LoadedModel) -> float:
        """Return the rise of the nats per token as a fraction of the dense model's."""
        dense = self._losses(self.model)
        return self._losses(model).minus(dense)["nats_per_token"] / dense.summary()["nats_per_token"]

    def _until_fast_enough(self, family: list[Candidate], target: float) -> list[Candidate]:
        """Return the shapes of a family with their speed-up, weakest first, up to the first that reaches the target."""
        measured: list[Candidate] = []
        for candidate in family:
            # Speed does not depend on which units are gone, so the shape alone is built for it.
            small = self.built(candidate, method="random")[-1].model
            size = small.info.bytes / self.model.info.bytes
            measured.append(replace(candidate, speedup=self.speedup(small), bytes=size))
            if measured[-1].gain >= target:
                break
        return measured

    def _good_enough(self, tried: list[Candidate], weaker: list[Candidate], threshold: float) -> list[Candidate]:
        """Return shapes weaker than those tried, fastest first, up to the first that loses no more than the threshold.

        It is the nearest shape on the side of quality.
        """
        if any(candidate.loss <= threshold for candidate in tried):
            return []
        looked_at: list[Candidate] = []
        for candidate in sorted(weaker, key=lambda one: -one.gain):
            looked_at.append(replace(candidate, drop=self.drop(self.built(candidate)[-1].model)))
            if looked_at[-1].loss <= threshold:
                break
        return looked_at

    def _losses(self, model: LoadedModel) -> Losses:
        key = ("validation", self.seed, id(self.rows))
        return memoize(model.module, key, lambda: text_likelihood(model, self.rows, draws=_DRAWS, seed=self.seed))


def families(model: LoadedModel) -> list[list[Candidate]]:
    """Return the shapes to try, each family from weak to strong.

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
    known = {
        "channels": [Candidate(channels=share) for share in eighths if int(shape.ffn * share)],
        "layers": [Candidate(layers=gone / shape.layers) for gone in range(1, shape.layers)],
        "heads": [Candidate(heads=gone / shape.kv_heads) for gone in range(1, shape.kv_heads)],
    }
    chosen = [known[unit] for unit in units if known[unit]]
    if {"heads", "channels"} <= set(units) and known["heads"]:
        # In equal shares, and three times as many channels: they are missed far less (docs/results.md).
        for times in (1, 3):
            both = [replace(one, channels=times * one.heads) for one in known["heads"] if times * one.heads < 1]
            chosen += [both] if both else []
    return chosen


def nearest(tried: list[Candidate], target: float, threshold: float) -> tuple[Candidate | None, Candidate | None]:
    """Return (the best of the fast enough shapes, the fastest of the good enough ones); None where there is none."""
    fast = [candidate for candidate in tried if candidate.gain >= target]
    good = [candidate for candidate in tried if candidate.loss <= threshold]
    return (
        min(fast, key=lambda candidate: candidate.loss, default=None),
        max(good, key=lambda candidate: candidate.gain, default=None),
    )
