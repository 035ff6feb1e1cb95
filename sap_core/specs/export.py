"""Write checkpoints: of a prune run, elastic ones, and upload to the Hub."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..choices.methods import METHODS, check_combination
from ..errors import InvalidInput, UnknownOption
from .base import Spec
from .calibration import CalibrationOptions
from .model import ModelOptions


class ExportSpec(Spec):
    """Write the result of a prune run as a checkpoint that stock transformers loads."""

    kind: Literal["export"] = "export"
    run: str = Field(description="folder of a finished prune run")
    out: str = Field(description="folder to write; must not exist unless overwrite")
    overwrite: bool = False
    verify: bool = True


class PushSpec(Spec):
    """Upload an exported checkpoint to the Hub. The token is no field: it comes from the environment."""

    kind: Literal["push"] = "push"
    folder: str = Field(description="a folder that an export wrote")
    repo: str = Field(description="NAME/MODEL on the Hub; made if it is not there")
    private: bool = Field(False, description="a repository made now is private")
    revision: str | None = Field(None, description="branch to commit to; default: the main one")

    @field_validator("repo")
    @classmethod
    def _repo(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", value, re.ASCII):
            raise InvalidInput(f"repo is '{value}'; expected NAME/MODEL of letters, digits, '-', '_' and '.'.")
        return value


class ElasticSpec(ModelOptions, CalibrationOptions):
    """Write a whole model with the order of importance of its units, to be cut to size when it is loaded."""

    kind: Literal["elastic"] = "elastic"
    method: str = Field("sink", description="score that orders heads and channels")
    out: str = Field(description="folder to write; must not exist unless overwrite")
    overwrite: bool = False
    verify: bool = True
    seed: int = 0

    @model_validator(mode="after")
    def _orders_units(self) -> ElasticSpec:
        if self.method not in METHODS:
            raise UnknownOption("method", self.method, METHODS)
        for unit in ("heads", "channels"):
            check_combination(self.method, unit, 0.5)
        return self
