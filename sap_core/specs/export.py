"""Write checkpoints: of a prune run, elastic ones; verify them, and upload to the Hub."""

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
    """Write the result of a prune run as a checkpoint that stock transformers loads, or a model as a GGUF file."""

    kind: Literal["export"] = "export"
    run: str = option(help="A finished prune run: its folder, or its id; format gguf: or a model.")
    out: str = option(
        help="Folder of the checkpoint (format gguf: FILE.gguf); must not exist unless it may be replaced.",
        reads="file",
    )
    format: Literal["checkpoint", "gguf"] = option(
        "checkpoint", "checkpoint (safetensors and config.json) or gguf (one file, for llama.cpp; needs gguf)."
    )
    precision: Literal["f16", "q8_0", "q4_0"] = option("f16", "Format gguf: type of the matrices: f16, q8_0 or q4_0.")
    overwrite: bool = option(False, OVERWRITE)
    verify: bool = option(True, VERIFY, shown="verify")

    @model_validator(mode="after")
    def _of_one_format(self) -> ExportSpec:
        if self.format != "gguf" and self.precision != "f16":
            raise InvalidInput("precision belongs to format gguf; give that too, or leave it out.")
        if self.format == "gguf" and not self.verify:
            raise InvalidInput("format gguf is always read back; leave --no-verify out.")
        return self


class VerifySpec(Spec):
    """Load an exported checkpoint in a fresh process and compare its logits with those it was exported with."""

    kind: Literal["verify"] = "verify"
    folder: str = option(help="A folder written by `sap prune` or `sap export`.", reads="file")
    original_code: bool = option(False, "Compute them with the folder's own Python code, as its publisher does.")
    trust_remote_code: bool = option(False, "With original_code: run that code; read it first.")


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
