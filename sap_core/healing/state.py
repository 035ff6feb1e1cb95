"""The file from which an interrupted training goes on: one safetensors file, replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InvalidInput
from ..models.saving import write_safetensors
from ..runs.files import plain

_BEST = "best/"


@dataclass
class Progressed:
    """How far a training is.

    Attributes:
        step: Steps that are done.
        checks: {"step", "kl", "nats_per_token", "loss"} of every measurement on held-out texts.
        best: Index of the best of them.
        best_weights: What was trained, and the masks, at that measurement.
        tensors: The same as it was last, and what the optimizer remembers; only of a state that was read.
    """

    step: int = 0
    checks: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


class StateFile:
    """The state of a training on disk; of one without a path, nothing is kept."""

    def __init__(self, path: Path | None, job: dict[str, Any]) -> None:
        self.path = path
        self._job = plain(job)

    def read(self) -> Progressed | None:
        """Return what an earlier call kept; None if there is nothing.

        Raises:
            InvalidInput: it is of another training, or damaged.
        """
        if self.path is None or not self.path.is_file():
            return None
        folder = self.path.parent
        try:
            with safe_open(self.path, framework="pt") as stored:
                document = json.loads((stored.metadata() or {})["state"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise InvalidInput(
                f"{folder} has a damaged state of a training; remove that folder, or choose another."
            ) from error
        if document["job"] != self._job:
            different = [name for name, value in self._job.items() if document["job"].get(name) != value]
            raise InvalidInput(
                f"{folder} belongs to another training (other {', '.join(different)}); remove it, or choose another "
                "output folder."
            )
        best = {name.removeprefix(_BEST): tensor for name, tensor in tensors.items() if name.startswith(_BEST)}
        return Progressed(document["step"], document["checks"], document["best"], best, tensors)

    def write(self, now: Progressed, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """Keep a state in place of the one before; ``tensors`` returns those to go on from, if they are kept.

        Raises:
            OSError: the system refuses, for example because the disk is full.
        """
        if self.path is None:
            return
        document = {"job": self._job, "step": now.step, "checks": now.checks, "best": now.best}
        aside = self.path.with_suffix(".part")
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors().items()}
        content |= {f"{_BEST}{name}": tensor.clone() for name, tensor in now.best_weights.items()}
        write_safetensors(content, aside, {"state": json.dumps(document), "format": "pt"})
        os.replace(aside, self.path)
