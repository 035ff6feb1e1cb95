"""The texts on which activation-aware methods look at the model."""

from __future__ import annotations

from pydantic import Field, model_validator

from ..texts.source import COLUMN, DEMO, EXPECTED, TextSource
from .base import Spec
from .texts import check_reading


class CalibrationOptions(Spec):
    """The texts on which activation-aware methods look at the model."""

    calibration: str = Field(DEMO, description=f"texts to calibrate on: {EXPECTED}")
    samples: int = Field(64, ge=1, description="calibration sequences")
    calibration_length: int | None = Field(
        None, ge=1, description="tokens per sequence; default: as long as the model takes, at most 256"
    )
    calibration_subset: str | None = Field(None, description="dataset:NAME only: its configuration, where it has some")
    calibration_split: str = Field("train", description="dataset:NAME only: which split is read")
    calibration_column: str = Field(COLUMN, description="FILE.jsonl and dataset:NAME: the key or column of the text")
    calibration_join: bool = Field(False, description="join all calibration texts and cut them into windows")
    noise_levels: int = Field(
        10, ge=1, le=50, description="methods that look at partly masked texts: levels of masking, evenly up to all"
    )

    @property
    def calibration_source(self) -> TextSource:
        """Where the calibration texts come from."""
        return TextSource(
            self.calibration,
            "calibration",
            columns=(self.calibration_column,),
            subset=self.calibration_subset,
            split=self.calibration_split,
            join=self.calibration_join,
        )

    @model_validator(mode="after")
    def _calibration_reading(self) -> CalibrationOptions:
        check_reading(self, self.calibration, "calibration")
        return self
