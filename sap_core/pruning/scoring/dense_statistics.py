"""The statistics that a score's formula needs of every matrix, measured on the dense model and cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ...memoize import memoize
from ...progress import ProgressCallback, silent
from .gradients import taylor_scores
from .inputs import Inputs, calibration_rows, weighted_rows
from .statistics import Gram, Moments, RootMeanSquare, Statistic, SumOfNorms, one_shot

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel
    from .calibration import Calibration

_SMALL = 50_000_000  # parameters of a model whose gradients and Gram matrices may stay in memory


def dense_statistics(
    model: LoadedModel, score: str, inputs: Inputs, calibration: Calibration, progress: ProgressCallback = silent
) -> dict[str, Tensor]:
    """Return the statistic that the formula ``score`` needs, by matrix name.

    It does not depend on the sparsity, so it is cached: moving a slider must not measure again. Statistics as large as
    the weights themselves are cached for small models only.
    """
    statistic = statistic_of(score, inputs)

    def measure() -> dict[str, Tensor]:
        if score == "taylor":
            rows, clean = calibration_rows(model, inputs, calibration)
            return taylor_scores(model, rows, clean, progress)
        if inputs.sinks == "each":
            rows, _ = calibration_rows(model, inputs, calibration)
            return one_shot(model, rows, statistic, sinks=inputs.phi, progress=progress)
        return one_shot(model, weighted_rows(model, inputs, calibration, progress), statistic, progress=progress)

    if score in ("taylor", "sparsegpt") and model.info.parameters > _SMALL:
        return measure()
    key = ("statistics", score, *inputs.key, calibration.describe()["sha256"])
    return memoize(model.module, key, measure)


def statistic_of(score: str, inputs: Inputs) -> Statistic:
    """Return the statistic of a matrix's inputs that the formula ``score`` needs."""
    if score == "flap":
        return Moments
    if score == "sparsegpt":
        return Gram
    # The published code sums over noised inputs and averages over clean ones.
    return SumOfNorms if inputs.kind == "noised" else RootMeanSquare
