"""One cell of a sweep: prune as it says, measure on the sweep's texts and masks. Executed by the workers."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..progress import ProgressCallback, silent
from ..specs import SweepSpec, parse_spec
from .grid import seeds_of

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel


class CellRunner:
    """Runs cells one after the other on a model that stays loaded; statistics that cells share are measured once.

    ``options``: the sweep's spec as a dict.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        from ..evaluation.texts import pruning_texts
        from ..models.loading import load_model

        self.spec = SweepSpec.build(**options)
        self.dense = load_model(self.spec.model, **self.spec.loading)
        self._measured: dict[tuple[str, tuple[int, ...]], dict[str, Any]] = {}
        self.texts = pruning_texts(self.dense, self.spec, samples=self.spec.texts, seed=self.spec.evaluation_seed)

    def run(self, cell: dict[str, Any], progress: ProgressCallback = silent) -> dict[str, Any]:
        """Run the cell {"id", "spec"} and return its record, JSON-able; ``spec`` None measures the dense model."""
        from ..pruning.api import prune

        started = time.perf_counter()
        model, found = self.dense, {}
        asked: Any = parse_spec(cell["spec"]) if cell["spec"] is not None else None
        if asked is not None:
            pruned = prune(self.dense, spec=asked, progress=progress)
            model = pruned.model
            found = {key: pruned.report.get(key) for key in ("sparsity", "seconds", "calibration", "weights_sha256")}
        return {
            "id": cell["id"],
            "spec": cell["spec"],
            "pruning": found,
            "quality": self._quality(model, seeds_of(self.spec, asked), found.get("weights_sha256"), progress),
            "seconds": round(time.perf_counter() - started, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "worker": f"{socket.gethostname()}:{os.getpid()}",
            "version": __version__,
        }

    def _quality(
        self, model: LoadedModel, seeds: tuple[int, ...], weights: str | None, progress: ProgressCallback
    ) -> dict[str, Any]:
        """Return the measures of these ``weights`` for these seeds, cached: methods often agree on what is removed."""
        if weights is None:
            return self._measure(model, seeds, progress)
        if (weights, seeds) not in self._measured:
            self._measured[weights, seeds] = self._measure(model, seeds, progress)
        return self._measured[weights, seeds]

    def _measure(self, model: LoadedModel, seeds: tuple[int, ...], progress: ProgressCallback) -> dict[str, Any]:
        """Return losses text by text (so that any two cells can be compared in pairs), task scores, size, speed.

        Each seed of the sweep has its own task examples, so that results pooled over seeds are over different examples;
        a cell that stands for all ``seeds`` is measured on all of theirs.
        """
        from ..evaluation.cost import generation_speed, model_size, speedup
        from ..evaluation.likelihood import text_likelihood
        from ..evaluation.tasks import knows_stories, task_scores

        spec = self.spec
        reference = None if model is self.dense else self.dense
        options = {"draws": spec.draws, "seed": spec.evaluation_seed, "reference": reference}
        losses = text_likelihood(model, self.texts.rows, **options, progress=progress)
        quality: dict[str, Any] = {
            "nats": losses.nats.tolist(),
            "counted": losses.counted.tolist(),
            "kl": None if losses.kl is None else losses.kl.tolist(),
            "kind": losses.kind,
            "texts": self.texts.describe(),
            "tasks": None,
            **model_size(model),
        }
        if spec.tasks and knows_stories(model):
            first = spec.seeds.index(seeds[0]) * spec.tasks
            quality["tasks"] = task_scores(model, examples=spec.tasks * len(seeds), skip=first, progress=progress)
        if spec.speed:
            own, dense = generation_speed([model, self.dense])
            quality["tokens_per_second"] = own["tokens_per_second"]
            quality |= speedup(own, dense)
        return quality
