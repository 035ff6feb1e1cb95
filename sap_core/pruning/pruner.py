"""`SinkAwarePruner`: prune a model to a target speed-up with bounded loss, or report why no shape reaches it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput
from ..progress import ProgressCallback, silent
from ..texts.source import DEMO, check_ids
from .planning.defaults import prune_spec_of
from .scoring.calibration import Calibration
from .scoring.head_ranking import rank_on_own_text
from .strategies.report import Pruned
from .strategies.search import prune_by_search
from .strategies.shape_search import Candidate, NoSuchPlan

if TYPE_CHECKING:
    import pandas as pd

    from ..models.loaded import LoadedModel

__all__ = ["Candidate", "NoSuchPlan", "SinkAwarePruner"]
IN_MEMORY = "given in memory"


class SinkAwarePruner:
    """Analyse a model, prune it to a target, and evaluate the result; the given model is unchanged.

    Args:
        model: A `LoadedModel`, or what `load_model` takes.
        calibration_data: "demo", FILE.txt, FILE.npy, "dataset:NAME", int64 token ids (samples, length), or None for the
            demo corpus.
        samples: Number of calibration sequences, where the source has more.
        seed: Seed of calibration, validation masks and everything drawn at random.
        fields: The other calibration fields of `PruneSpec`, such as noise_levels or calibration_split.
    """

    def __init__(
        self,
        model: LoadedModel | str,
        calibration_data: str | np.ndarray | None = None,
        *,
        samples: int = 32,
        seed: int = 0,
        **fields: Any,
    ) -> None:
        if isinstance(model, str):
            from ..models.loading import load_model

            model = load_model(model)
        self.model = model
        self.samples, self.seed = samples, seed
        self._texts = _given(calibration_data, model) if isinstance(calibration_data, np.ndarray) else None
        source = calibration_data if isinstance(calibration_data, str) else DEMO
        self._fields = {"model": model.info.ref, "calibration": source, "samples": samples, "seed": seed, **fields}
        prune_spec_of(model)(**self._fields)
        self._ranking: pd.DataFrame | None = None

    def analyze_attention_dynamics(self, *, progress: ProgressCallback = silent) -> pd.DataFrame:
        """Return how much the sinks of every head move during a generation, most unstable heads first.

        The table is that of `sap_core.rank_heads`. It is measured once.
        """
        if self._ranking is None:
            self._ranking = rank_on_own_text(self.model, self.seed, progress)
        return self._ranking

    def prune(
        self,
        target_speedup: float = 1.3,
        quality_drop_threshold: float = 0.05,
        *,
        preset: str | None = None,
        method: str | None = None,
        progress: ProgressCallback = silent,
    ) -> Pruned:
        """Return the best model that generates ``target_speedup`` times as fast and loses at most the threshold.

        Heads, channels, layers, and heads with channels are each removed step by step until a whole generation,
        measured on this machine in turns with the dense model, is fast enough. Of the shapes that are, the one with the
        lowest loss is returned. Units are ranked by ``method``, the last of heads that attend alike is kept, and the
        remaining weights are updated by least squares to compensate for heads and channels
        (`sap_core.pruning.structured.compensation`). The result's report lists every shape that was tried under
        "search".

        Args:
            target_speedup: Generation time of the dense model over that of the result.
            quality_drop_threshold: Largest rise of the nats per token on held-out stories, as a fraction of the dense
                model's.
            preset: quality, balanced, speed or memory, in place of target and threshold: the point of the measured
                curve that `sap_core.choices.strategies.PRESETS` describes.
            method: Score of the units; default: sink, or wanda for an autoregressive model.
            progress: Called after every unit of work.

        Raises:
            InvalidInput: a target of 1 or less, a negative threshold, a model that no units can be removed from.
            NoSuchPlan: no shape meets both; names the nearest on either side.
        """
        if target_speedup <= 1:
            raise InvalidInput(f"target_speedup is {target_speedup:g}; expected more than 1, such as 1.3.")
        if quality_drop_threshold < 0:
            raise InvalidInput(f"quality_drop_threshold is {quality_drop_threshold:g}; expected a share such as 0.05.")
        wish: dict[str, Any] = {"preset": preset}
        if preset is None:
            wish = {"target_speedup": target_speedup, "quality_drop": quality_drop_threshold}
        spec: Any = prune_spec_of(self.model)(**self._fields | wish | {"method": method})
        return prune_by_search(self.model, spec, texts=self._texts, progress=progress)

    def evaluate(
        self, pruned_model: Pruned | LoadedModel, test_data: str | list[str] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Return the quality, tasks, speed and size of the pruned model beside the dense one: `sap_core.evaluate`.

        ``test_data``: a source of texts, such as FILE.txt, or a list of texts; None takes held-out stories. ``fields``:
        those of `EvaluateSpec`.
        """
        from ..evaluation.api import evaluate

        model = pruned_model.model if isinstance(pruned_model, Pruned) else pruned_model
        fields = {"seed": self.seed} | fields
        if not isinstance(test_data, list):
            return evaluate(model, self.model, test_data, **fields)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "texts.jsonl"
            path.write_text("".join(f"{json.dumps(text)}\n" for text in test_data), encoding="utf-8")
            return evaluate(model, self.model, str(path), **fields)


def _given(ids: np.ndarray, model: LoadedModel) -> Calibration:
    """Return token ids in memory as calibration data, checked like a file of them."""
    check_ids(ids, IN_MEMORY, model.info.vocab_size, model.info.max_length)
    return Calibration(ids, np.ones(ids.shape, bool), IN_MEMORY)
