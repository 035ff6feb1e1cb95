"""Prune layer by layer with a quality gate: each layer as strongly as the loss budget allows, or not at all."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...choices.patterns import parse_pattern
from ...errors import InvalidInput, required
from ...evaluation.likelihood import Losses, text_likelihood
from ...evaluation.texts import validation_texts
from ...progress import Progress, ProgressCallback, silent
from ...specs import ProgressivePruneSpec, asked_spec
from ...texts.source import TextSource
from ..planning.defaults import prune_spec_of
from ..planning.make_plan import planned_zeros
from ..planning.plan import PlannedMatrix, PruningPlan
from ..scoring.inputs import Inputs
from .preparation import prepare
from .removal import Recipe, Removal, prune_block, remove
from .report import Pruned, report_of

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel
    from ...texts.rows import TextRow
    from ..scoring.calibration import Calibration

STRENGTHS = (1.0, 0.75, 0.5, 0.25)  # shares of the asked sparsity that a layer is tried with, in this order
_DRAWS = 4


@dataclass(frozen=True)
class Decision:
    """What was tried on one layer and what was kept.

    Attributes:
        tried: (sparsity, loss so far as a fraction of the dense loss), in order.
        sparsity: What was kept; 0 means the layer was left unpruned.
        allowed: Fraction of the loss that the gate allowed at this layer.
    """

    layer: int
    tried: tuple[tuple[float, float], ...]
    sparsity: float
    loss: float
    allowed: float


def prune_progressively(
    model: LoadedModel | str,
    *,
    budget: float | None = None,
    validation: str | None = None,
    spec: ProgressivePruneSpec | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> Pruned:
    """Prune layer by layer; after each, the loss on validation texts decides how strongly it is pruned.

    The budget grows with the layers: layer i of L may raise the loss by budget * (i + 1) / L, so that the first ones
    can't spend it all. A layer above it is tried again at 3/4, 1/2 and 1/4 of the sparsity (a pattern N:M has one
    strength only), then left unpruned. Every decision is in the report under "decisions".

    Args:
        model: A `LoadedModel`, or what `load_model` takes; unchanged.
        budget: Largest rise of the nats per token, as a fraction of the dense model's; default 0.05.
        validation: Texts that decide, as `sap_core.evaluation.texts.validation_texts` reads them.
        spec: As `prune`; weights only, uniform allocation.
        progress: Called after every unit of work.
        **fields: The fields of a spec, as `prune`.

    Raises:
        InvalidInput: as `prune`; a negative budget; whole units, heads, or an allocation of its own.
    """
    if spec is None and budget is None:
        budget = 0.05
    given = {"budget": budget, "validation": validation} | fields
    asked = asked_spec(prune_spec_of(model), model, spec, given)
    if not isinstance(asked, ProgressivePruneSpec):
        raise InvalidInput(
            f"a {asked.strategy} pruning has no budget; give it to prune, or a ProgressivePruneSpec here."
        )
    return prune_within_budget(model, asked, progress=progress)


def prune_within_budget(
    model: LoadedModel | str,
    spec: ProgressivePruneSpec,
    texts: Calibration | None = None,
    progress: ProgressCallback = silent,
) -> Pruned:
    """Run `prune_progressively` with a spec that has a budget; ``texts``: calibration data in memory."""
    started = time.perf_counter()
    if spec.validation is not None:
        TextSource(spec.validation, "validation").check()
    dense, plan, calibration = prepare(model, spec, texts=texts, progress=progress)
    validation = validation_texts(dense, spec)
    rows = validation.rows
    gate = _Gate(dense.clone(), plan, spec.seed, rows, spec.budget, progress)
    gate.dense_loss = _losses(dense, rows, spec.seed)
    recipe = Recipe(Inputs.of(spec.method, spec), spec.sequential)
    pruned, _ = remove(Removal(dense, gate.model, plan, recipe, calibration, progress, each=gate.layer))
    result = replace(plan, matrices=tuple(gate.kept), pending="")
    report = report_of(pruned, result, calibration, time.perf_counter() - started)
    decisions = {
        "budget": spec.budget,
        "validation": validation.describe(),
        "decisions": [asdict(decision) for decision in gate.decisions],
    }
    return Pruned(pruned, result, spec, report | decisions)


class _Gate:
    """Prunes one layer after the other, as strongly as the budget allows."""

    def __init__(
        self,
        model: LoadedModel,
        plan: PruningPlan,
        seed: int,
        rows: list[TextRow],
        budget: float,
        progress: ProgressCallback,
    ) -> None:
        self.model, self.plan, self.seed, self.rows = model, plan, seed, rows
        self.budget, self.progress = budget, progress
        self.dense_loss: Losses | None = None
        self.loss = 0.0
        self.decisions: list[Decision] = []
        self.kept: list[PlannedMatrix] = []

    def layer(self, layer: int, found: dict[str, Tensor]) -> None:
        layers = len(self.model.blocks)
        allowed = self.budget * (layer + 1) / layers
        before = {name: module.weight.data.clone() for name, module in self.model.linears(layer).items()}
        strengths = (1.0,) if parse_pattern(self.plan.pattern).structured else STRENGTHS
        tried: list[tuple[float, float]] = []
        for strength in strengths:
            trial = self._weakened(layer, strength)
            prune_block(self.model, layer, found, replace(self.plan, matrices=tuple(trial)), self.seed)
            loss = self._rise()
            tried.append((self.plan.sparsity * strength, loss))
            if loss <= allowed:
                self.kept += trial
                self.loss = loss
                break
            for name, module in self.model.linears(layer).items():
                module.weight.data.copy_(before[name])
        else:
            self.kept += self._weakened(layer, 0.0)
        sparsity = tried[-1][0] if tried[-1][1] <= allowed else 0.0
        self.decisions.append(Decision(layer, tuple(tried), sparsity, self.loss, allowed))
        message = f"layer {layer}: {sparsity:.0%} pruned, loss {self.loss:+.1%} of {allowed:.1%}"
        self.progress(Progress("gate", layer + 1, layers, message, data=asdict(self.decisions[-1])))

    def _weakened(self, layer: int, strength: float) -> list[PlannedMatrix]:
        pattern = parse_pattern(self.plan.pattern)
        rows = []
        for m in (m for m in self.plan.matrices if m.layer == layer):
            sparsity = m.sparsity * strength
            zeros = planned_zeros(m.rows, m.cols, sparsity, pattern, self.plan.compare) if strength else 0
            rows.append(replace(m, sparsity=sparsity, zeros=zeros))
        return rows

    def _rise(self) -> float:
        dense = required(self.dense_loss, "the dense loss")
        change = _losses(self.model, self.rows, self.seed).minus(dense)["nats_per_token"]
        return change / dense.summary()["nats_per_token"]


def _losses(model: LoadedModel, rows: list[TextRow], seed: int) -> Losses:
    return text_likelihood(model, rows, draws=_DRAWS, seed=seed)
