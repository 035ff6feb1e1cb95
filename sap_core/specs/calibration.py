"""The texts on which activation-aware methods look at the model."""

from __future__ import annotations

from pydantic import model_validator

from ..errors import InvalidInput
from .base import Spec
from .options import option


class CalibrationOptions(Spec):
    """The texts on which activation-aware methods look at the model."""

    calibration: str = option(
        "demo",
        "demo, FILE.txt, FILE.npy of int64 token ids, shape (samples, length), or dataset:NAME (Hub or folder).",
        reads="texts",
    )
    samples: int = option(64, "Calibration sequences.", ge=1)
    calibration_length: int | None = option(
        None, "Tokens per calibration sequence.", shown="the model's, at most 256", ge=1
    )
    calibration_subset: str | None = option(None, "dataset:NAME: its configuration, where it has some.")
    calibration_split: str = option("train", "dataset:NAME: the split.")
    calibration_column: str = option("text", "dataset:NAME: the column of text.")
    noise_levels: int = option(
        10, "Levels of masking, for methods that look at masked texts, evenly up to all.", ge=1, le=50
    )

    @model_validator(mode="after")
    def _dataset_only(self) -> CalibrationOptions:
        names = ("calibration_subset", "calibration_split", "calibration_column")
        given = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
        if given and not self.calibration.startswith("dataset:"):
            raise InvalidInput(f"{', '.join(given)} belongs to calibration dataset:NAME, not to '{self.calibration}'.")
        return self
