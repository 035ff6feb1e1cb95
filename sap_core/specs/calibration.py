"""The texts on which activation-aware methods look at the model."""

from __future__ import annotations

from pydantic import Field, model_validator

from ..errors import InvalidInput
from .base import Spec


class CalibrationOptions(Spec):
    """The texts on which activation-aware methods look at the model."""

    calibration: str = Field(
        "demo", description="demo, FILE.txt, FILE.npy (int64 ids, shape (samples, length)), or dataset:NAME"
    )
    samples: int = Field(64, ge=1, description="calibration sequences")
    calibration_length: int | None = Field(
        None, ge=1, description="tokens per sequence; default: as long as the model takes, at most 256"
    )
    calibration_subset: str | None = Field(None, description="dataset:NAME only: its configuration, where it has some")
    calibration_split: str = Field("train", description="dataset:NAME only: which split is read")
    calibration_column: str = Field("text", description="dataset:NAME only: the column that holds the text")
    noise_levels: int = Field(
        10, ge=1, le=50, description="methods that look at partly masked texts: levels of masking, evenly up to all"
    )

    @model_validator(mode="after")
    def _dataset_only(self) -> CalibrationOptions:
        names = ("calibration_subset", "calibration_split", "calibration_column")
        given = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
        if given and not self.calibration.startswith("dataset:"):
            raise InvalidInput(f"{', '.join(given)} belongs to calibration dataset:NAME, not to '{self.calibration}'.")
        return self
