"""What heads can be ranked by: instability and its components, weight scores, the norm of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from ..attention.recorder import record_attention
from ..choices.methods import METHODS
from ..errors import InvalidInput
from ..evaluation.likelihood import ScoredPass
from ..progress import ProgressCallback
from ..pruning.scoring.dense_statistics import dense_statistics
from ..pruning.scoring.head_ranking import ranking
from ..pruning.scoring.inputs import Inputs
from ..pruning.strategies.preparation import calibration_of
from ..pruning.structured.unit_scores import head_scores
from ..sinks.instability import COMPONENTS
from ..specs import AblateHeadsSpec, CalibrationOptions

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

VALUE_NORM, INSTABILITY = "value_norm", "instability"


@dataclass(frozen=True)
class Ranking:
    """A score of every head, in the order in which the heads are given; ``value`` is high where a head should stay.

    Attributes:
        title: For people.
        shown: The score as it is known, such as an instability; minus ``value`` or the same.
    """

    name: str
    title: str
    value: Float[np.ndarray, " head"]
    shown: Float[np.ndarray, " head"]


def head_rankings(
    model: LoadedModel,
    spec: AblateHeadsSpec,
    heads: list[tuple[int, int]],
    passes: list[ScoredPass],
    progress: ProgressCallback,
) -> list[Ranking]:
    """Return the rankings: instability, its components, and the scores that the spec names.

    The weight scores are those of a pruning with the default calibration of demo stories, or of ``passes``' own texts
    where the model has no tokenizer or does not know them.

    Raises:
        InvalidInput: the capture is of another model.
    """
    table = ranking(model, spec.run, spec.seed, progress).set_index(["layer", "head"])
    if set(table.index) != set(heads):
        raise InvalidInput(
            f"the run has {len(table)} heads but {model.info.ref} has {len(heads)}; use a capture of the same model."
        )
    table = table.loc[heads]
    found = [_unstable(INSTABILITY, "Instability", table[INSTABILITY].to_numpy(float))]
    for name, part in COMPONENTS.items():
        value = table[name].to_numpy(float)
        found.append(_unstable(name, part.title, value if part.rises else 1 - value))
    for name in spec.scores:
        if name == VALUE_NORM:
            norms = value_norms(model, passes)
            if norms is None:
                continue
            value, title = np.array([norms[layer][head] for layer, head in heads]), "Norm of the values"
        else:
            by_layer = _weight_scores(model, name, spec, progress)
            value, title = np.array([float(by_layer[layer][head]) for layer, head in heads]), METHODS[name].title
        found.append(Ranking(name, title, value, value))
    return found


@torch.no_grad()
def value_norms(model: LoadedModel, passes: list[ScoredPass]) -> dict[int, Float[np.ndarray, " head"]] | None:
    """Return the mean norm of each head's values over all positions, by layer; None where its code has no values.

    METRICS section 9. Heads that share keys and values have the same.
    """
    sums: dict[int, Any] = {}
    count = 0

    def look(layer: int, inputs: Any, value: Any) -> None:
        if value is not None:
            norms = value.float().norm(dim=-1).sum((0, 2)).repeat_interleave(inputs.query.shape[1] // value.shape[1])
            sums[layer] = sums.get(layer, 0) + norms.cpu().double().numpy()

    with record_attention(model, reduce=lambda *_: None, edit=look) as recorder:
        for some in passes:
            model.logits(some.inputs.to(model.device))
            recorder.results()
            count += some.inputs.numel()
    return {layer: total / count for layer, total in sums.items()} or None


def _unstable(name: str, title: str, value: np.ndarray) -> Ranking:
    return Ranking(name, title, -value, value)


def _weight_scores(
    model: LoadedModel, name: str, spec: AblateHeadsSpec, progress: ProgressCallback
) -> dict[int, torch.Tensor]:
    fields = {"calibration": spec.text} if spec.text is not None else {}
    options = CalibrationOptions.build(samples=spec.samples, **fields)
    row = METHODS[name]
    found: dict[str, torch.Tensor] = {}
    if row.needs_calibration:
        inputs = Inputs(row.inputs, row.sinks, options.noise_levels, spec.seed)
        calibration = calibration_of(model, options, spec.seed)
        with model.calibrating():
            found = dense_statistics(model, row.score, inputs, calibration, progress)
    return head_scores(model, name, found, seed=spec.seed)
