"""The texts on which activation-aware methods look at the model."""

from __future__ import annotations

from pydantic import model_validator

from ..texts.source import COLUMN, DEMO, EXPECTED, TextSource
from .base import Spec
from .options import option
from .texts import check_reading


class CalibrationOptions(Spec):
    """The texts on which activation-aware methods look at the model."""

    calibration: str = option(DEMO, f"Texts to calibrate on: {EXPECTED}.", reads="texts")
    samples: int = option(64, "Calibration sequences.", ge=1)
    calibration_length: int | None = option(
        None, "Tokens per calibration sequence, at most.", shown="the model's, at most 256", ge=1
    )
    calibration_subset: str | None = option(None, "dataset:NAME: its configuration, where it has some.")
    calibration_split: str = option("train", "dataset:NAME: the split.")
    calibration_column: str = option(COLUMN, "FILE.jsonl, dataset:NAME: the key or column of text.")
    calibration_join: bool = option(False, "Join all calibration texts and cut them into windows.")
    noise_levels: int = option(
        10, "Levels of masking, for methods that look at masked texts, evenly up to all.", ge=1, le=50
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
