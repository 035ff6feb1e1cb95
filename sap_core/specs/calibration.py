"""Options of the calibration texts, on which activation-aware methods measure the model."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ..choices.sink_rules import SINK_RULES
from ..errors import InvalidInput
from ..texts.source import COLUMN, DEMO, EXPECTED, TextSource
from .base import Spec
from .options import option
from .texts import check_reading

SINK_EPSILON = SINK_RULES["column_sum"].threshold


class CalibrationOptions(Spec):
    """Options of the calibration texts, on which activation-aware methods measure the model."""

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
    sink_rule: Literal["code", "paper"] = option(
        "code",
        "Methods that look at sinks: code, above mean + 2 std, by a sigmoid, as the method's public code; paper, above "
        "the mean of the others by epsilon, all or nothing, as its paper.",
    )
    sink_epsilon: float | None = option(
        None, "sink_rule paper: epsilon, in column sums, whose mean is 1.", shown=f"{SINK_EPSILON:g}", ge=0
    )

    @property
    def epsilon_of_sinks(self) -> float:
        """Epsilon of sink_rule paper, as given or that of rule column_sum."""
        return SINK_EPSILON if self.sink_epsilon is None else self.sink_epsilon

    @property
    def calibration_source(self) -> TextSource:
        """The source of the calibration texts."""
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
        if self.sink_epsilon is not None and self.sink_rule != "paper":
            raise InvalidInput(f"sink_epsilon is {self.sink_epsilon:g}; it belongs to sink_rule paper, leave it out.")
        check_reading(self, self.calibration, "calibration")
        return self
