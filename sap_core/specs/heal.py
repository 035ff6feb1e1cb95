"""Win back what a pruning lost: the pruned model learns from the dense one."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ..errors import InvalidInput
from ..texts.source import EXPECTED
from .base import OVERWRITE, SEED, VERIFY
from .model import ModelOptions
from .options import option
from .texts import TextOptions

RATES = {"weights": 5e-4, "norms": 2e-3, "lora": 2e-3}  # measured on the demo model at half of its channels


class HealSpec(ModelOptions, TextOptions):
    """Train a pruned model on the predictions of the dense one; zeros stay zero and shapes stay."""

    kind: Literal["heal"] = "heal"
    teacher: str = option(help="The dense model to learn from: demo:NAME, a folder, or a Hub id.")
    text: str | None = option(
        None,
        f"Texts to learn from: {EXPECTED}. A part is held out, to decide when to stop and to measure the result.",
        shown="demo stories, for models that know them",
        reads="texts",
    )
    out: str | None = option(
        None, "Folder of the checkpoint; must not exist unless it may be replaced. Interrupted, it goes on from there.",
        reads="file",
    )  # fmt: skip
    overwrite: bool = option(False, OVERWRITE)
    verify: bool = option(True, VERIFY, shown="verify")
    steps: int = option(1000, "Steps of training, at most.", ge=1)
    batch: int = option(16, "Texts per step.", ge=1)
    text_length: int | None = option(None, "Tokens per text, at most.", shown="the model's, at most 512", ge=2)
    train: Literal["weights", "norms", "lora"] = option(
        "weights",
        "What learns: weights (all in the blocks), norms (norms and biases alone) or lora (low-rank additions, merged "
        "at the end).",
    )
    rank: int = option(16, "Train lora: rank of the additions.", ge=1)
    learning_rate: float | None = option(
        None, "Largest learning rate.", shown=", ".join(f"{name} {rate:g}" for name, rate in RATES.items()), gt=0, le=1
    )
    moving_mask: bool = option(
        False, "Let zeros move: the smallest weights become zero, and as many zeros with the largest gradients learn."
    )
    move_every: int = option(50, "Moving mask: steps between two moves, in the first three quarters.", ge=1)
    move_share: float = option(0.1, "Moving mask: share of the weights that moves at first; it falls to 0.", gt=0, le=1)
    held_out: int = option(32, "Texts held out to decide, and as many again to measure.", ge=2, le=512)
    check_every: int = option(
        50, "Steps between two measurements on held-out texts; each is a point to go on from.", ge=1
    )
    patience: int = option(5, "Stop after so many measurements without a better one; 0: never.", ge=0)
    seed: int = option(0, SEED)

    @model_validator(mode="after")
    def _fits_together(self) -> HealSpec:
        if self.dtype in ("int8", "int4"):
            raise InvalidInput(f"dtype is {self.dtype}, but quantized weights can't learn; heal first, quantize after.")
        if self.moving_mask and self.train != "weights":
            raise InvalidInput(f"moving_mask moves weights, but train is '{self.train}'; leave one of them out.")
        for name, owner, there in (
            ("rank", "train lora", self.train == "lora"),
            ("move_every", "moving_mask", self.moving_mask),
            ("move_share", "moving_mask", self.moving_mask),
        ):
            if not there and getattr(self, name) != type(self).model_fields[name].default:
                raise InvalidInput(f"{name} belongs to {owner}; give that too, or leave it out.")
        return self

    @property
    def largest_rate(self) -> float:
        """The learning rate after warming up: as given, or that of what learns."""
        return RATES[self.train] if self.learning_rate is None else self.learning_rate
