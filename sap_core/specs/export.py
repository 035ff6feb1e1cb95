"""Write checkpoints: of a prune run, elastic ones, and upload to the Hub."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator, model_validator

from ..choices.methods import METHODS
from ..choices.patterns import check_combination
from ..errors import InvalidInput, UnknownOption
from .base import OVERWRITE, SEED, VERIFY, Spec
from .calibration import CalibrationOptions
from .model import ModelOptions
from .options import option


class ExportSpec(Spec):
    """Write the result of a prune run as a checkpoint that stock transformers loads."""

    kind: Literal["export"] = "export"
    run: str = option(help="A finished prune run: its folder, or its id.")
    out: str = option(help="Folder of the checkpoint; must not exist unless it may be replaced.", reads="file")
    overwrite: bool = option(False, OVERWRITE)
    verify: bool = option(True, VERIFY, shown="verify")


class PushSpec(Spec):
    """Upload an exported checkpoint to the Hub. The token is not a field: it is read from the environment."""

    kind: Literal["push"] = "push"
    folder: str = option(help="A folder written by `sap prune` or `sap export`.")
    repo: str = option(help="NAME/MODEL on the Hub; made if it is not there.")
    private: bool = option(False, "A repository made now is private.")
    revision: str | None = option(None, "Branch to commit to; made if it is not there.", shown="main")

    @field_validator("repo")
    @classmethod
    def _repo(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", value, re.ASCII):
            raise InvalidInput(f"repo is '{value}'; expected NAME/MODEL of letters, digits, '-', '_' and '.'.")
        return value


class ElasticSpec(ModelOptions, CalibrationOptions):
    """Write a whole model with the order of importance of its units, to be cut to size when it is loaded."""

    kind: Literal["elastic"] = "elastic"
    method: str = option("sink", "Score that orders heads and channels.")
    out: str = option(help="Folder of the checkpoint; must not exist unless it may be replaced.", reads="file")
    overwrite: bool = option(False, OVERWRITE)
    verify: bool = option(True, VERIFY, shown="verify")
    seed: int = option(0, SEED)

    @model_validator(mode="after")
    def _orders_units(self) -> ElasticSpec:
        if self.method not in METHODS:
            raise UnknownOption("method", self.method, METHODS)
        for unit in ("heads", "channels"):
            check_combination(self.method, unit, 0.5)
        return self
