"""One typed spec per action. The page, the command line, a notebook and a job file all build the same object.

A spec checks what can be checked without a model: names against their tables, ranges, combinations. What needs the
model (a length beyond its positions, a prompt longer than the canvas) is checked by the verb before any work.
Importing this module does not import torch.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import InvalidInput, UnknownOption
from .pruning.planning.allocation import check_allocation
from .pruning.planning.methods import METHODS, check_combination, parse_pattern
from .pruning.planning.strategies import PRESETS, check_mode, mode_of
from .samplers.rules import SAMPLERS
from .sinks.rules import SINK_RULES

AUTO = "auto"


class Spec(BaseModel):
    """Common base: unknown fields are errors, and an error is one line that names the field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def build(cls, **fields: Any):
        """The spec from keyword arguments.

        Raises:
            InvalidInput: a field is missing, unknown, of the wrong type, or out of its range.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidInput(_one_line(error)) from None


class ModelOptions(Spec):
    """How a model is loaded; part of every spec that names one."""

    model: str = Field(description="demo:NAME, a folder, or a Hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = Field(
        AUTO, description="weights' precision; int8 and int4 need bitsandbytes and can't be pruned"
    )
    device: str = Field(AUTO, description="auto, cpu, cuda, cuda:N, mps, or spread over all GPUs and main memory")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    mask_token_id: int | None = Field(None, ge=0, description="for models that do not declare their mask token")

    @property
    def loading(self) -> dict[str, Any]:
        """The keyword arguments of `load_model` that this spec holds; ``keep`` where it has one."""
        names = [name for name in ModelOptions.model_fields if name != "model"]
        return {name: getattr(self, name) for name in (*names, "keep") if hasattr(self, name)}


class CaptureSpec(ModelOptions):
    """Generate from a prompt and record attention at every step, layer and head."""

    kind: Literal["capture"] = "capture"
    prompts: tuple[str, ...] = Field(("",), min_length=1, description="one canvas each; batched")
    chat: bool = Field(False, description="put each prompt into the model's chat template")
    length: int = Field(128, ge=1, description="tokens in the canvas, prompt included")
    steps: int | None = Field(
        None, description="denoising steps; autoregressive: tokens to generate. Default: 64, or all tokens if fewer"
    )
    sampler: str = Field(AUTO, description="auto takes the model's own default")
    block_length: int | None = Field(None, ge=1, description="tokens per semi-autoregressive block; default one block")
    temperature: float = Field(0.0, ge=0.0, description="0 is greedy")
    guidance: float = Field(0.0, ge=0.0, description="classifier-free guidance scale; 0 is off")
    threshold: float | None = Field(
        None, gt=0.0, le=1.0, description="confidence that keeps a token, for threshold samplers; default: its own"
    )
    keep: float | None = Field(None, gt=0, le=1, description="elastic checkpoints: the share of units that is loaded")
    seed: int = 0
    query_stride: int = Field(
        1, ge=1, description="n > 1: estimate attention from every n-th query, faster; the error is measured in the run"
    )
    precision: Literal["float32", "float16", "uint8"] = Field(
        "float32",
        description="of the stored attention: float16 halves the run (error 2^-11 of a share), uint8 quarters it "
        "(error 2.2 %, the largest share of a row exact); the run states its error",
    )
    name: str = Field("", description="shown in the list of runs")

    @field_validator("steps")
    @classmethod
    def _steps(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise InvalidInput(f"steps is {value}; at least 1 denoising step is needed.")
        return value

    @field_validator("sampler")
    @classmethod
    def _sampler(cls, value: str) -> str:
        if value != AUTO and value not in SAMPLERS:
            raise UnknownOption("sampler", value, [AUTO, *SAMPLERS])
        return value


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


class PruneSpec(ModelOptions, CalibrationOptions):
    """Remove weights (or heads) by one method in one pattern."""

    kind: Literal["prune"] = "prune"
    method: str = Field(
        description="how weights are told apart that may go; `sap_core.pruning.planning.defaults` has the best"
    )
    sparsity: float = Field(0.5, description="share of weights to zero, 0 <= s < 1; for `heads`: share of heads")
    pattern: str = Field(
        "unstructured",
        description="unstructured; N:M, N of M consecutive inputs zeroed; heads, channels or layers, taken out whole",
    )
    compare: Literal["auto", "row", "matrix"] = Field(
        AUTO, description="weights compete within their output row or their matrix; auto is the method's own way"
    )
    order: Literal["auto", "sequential", "one_shot"] = Field(
        AUTO, description="block by block on pruned inputs, or all at once on dense ones; auto is the method's own way"
    )
    allocation: str = Field("uniform", description="how the sparsity is shared among layers at the same mean")
    allocation_width: float = Field(0.08, gt=0, le=0.5, description="most that a layer's sparsity leaves the mean")
    allocation_table: tuple[float, ...] | None = Field(None, description="allocation 'table' only: one share per layer")
    compensate: Literal["none", "bias", "weights"] = Field(
        "none",
        description="patterns heads and channels: how what stays makes up for what goes; a bias of what it gave on "
        "average, or the weights that stay moved by least squares",
    )
    heads: tuple[tuple[int, int], ...] | None = Field(
        None, description="method `heads` only: exactly these (layer, head) pairs instead of the most unstable"
    )
    run: str | None = Field(
        None,
        description="method or pattern `heads`, allocation `instability`: the capture run whose heads are compared",
    )
    duplicates: Literal["keep_one", "ignore"] = Field(
        "keep_one", description="heads that attend alike: the last of a group never goes, or the rule is ignored"
    )
    budget: float | None = Field(
        None,
        ge=0,
        description="progressive: layer by layer, largest rise of the loss as a share of the dense model's",
    )
    validation: str | None = Field(
        None, description="progressive: FILE.txt the loss is measured on; default: held-out stories"
    )
    target_speedup: float | None = Field(
        None, gt=1, description="search: at least so many times as fast on this machine, pattern and share found by it"
    )
    quality_drop: float | None = Field(
        None, ge=0, description="search: largest rise of the loss as a share of the dense model's; default 0.05"
    )
    preset: str | None = Field(
        None, description="search: a point of the measured curve: quality, balanced, speed or memory"
    )
    seed: int = 0
    name: str = ""

    @property
    def mode(self) -> str:
        """As `sap_core.pruning.planning.strategies.mode_of` has it."""
        return mode_of(budget=self.budget, preset=self.preset, target_speedup=self.target_speedup)

    @field_validator("preset")
    @classmethod
    def _preset(cls, value: str | None) -> str | None:
        if value is not None and value not in PRESETS:
            raise UnknownOption("preset", value, PRESETS)
        return value

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        if value not in METHODS:
            raise UnknownOption("method", value, METHODS)
        return value

    @field_validator("compensate", mode="before")
    @classmethod
    def _compensate(cls, value: Any) -> Any:
        return {False: "none", True: "bias"}[value] if isinstance(value, bool) else value  # as older runs have it

    @field_validator("sparsity")
    @classmethod
    def _sparsity(cls, value: float) -> float:
        if not 0 <= value < 1:
            raise InvalidInput(f"sparsity is {value:g}; expected a share in [0, 1), such as 0.5.")
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        parse_pattern(value)
        return value

    @field_validator("allocation")
    @classmethod
    def _allocation(cls, value: str) -> str:
        check_allocation(value)
        return value

    @model_validator(mode="after")
    def _combination(self) -> PruneSpec:
        if self.mode != "search":  # which finds its patterns itself
            check_combination(
                self.method, self.pattern, self.sparsity, self.compare, self.order, self.allocation, self.compensate
            )
        if self.allocation_table is not None and self.allocation != "table":
            raise InvalidInput(f"allocation_table belongs to allocation 'table', not to '{self.allocation}'.")
        if self.method != "heads" and self.heads is not None:
            raise InvalidInput(f"heads belong to method 'heads', not to '{self.method}'; leave them out.")
        heads_go = "heads" in (self.method, self.pattern) or self.mode == "search"
        if self.run is not None and not heads_go and self.allocation != "instability":
            raise InvalidInput(
                "run belongs to method 'heads', pattern 'heads' and allocation 'instability'; leave it out."
            )
        check_mode(self)
        return self


class PruneCheckpointSpec(PruneSpec):
    """Prune from files to files, one block in memory at a time, for models that do not fit the memory.

    Goes on where it was interrupted; see `sap_core.prune_checkpoint` for what can be pruned this way.
    """

    kind: Literal["prune_checkpoint"] = "prune_checkpoint"
    out: str = Field(description="folder to write; must not exist unless overwrite")
    overwrite: bool = False
    verify: bool = Field(True, description="load the result in a fresh process, where it fits the memory")


class EvaluateSpec(ModelOptions):
    """Measure quality and cost; with a baseline, both on the same masks."""

    kind: Literal["evaluate"] = "evaluate"
    baseline: str | None = Field(None, description="the dense model to compare with: demo:NAME, folder or Hub id")
    text: str | None = Field(None, description="FILE.txt; default: held-out stories of the demo corpus")
    samples: int = Field(32, ge=1, description="texts")
    draws: int = Field(8, ge=1, description="mask draws per text (diffusion models)")
    tasks: bool = Field(True, description="score the demo corpus' three tasks where the tokenizer is the demo's")
    keep: float | None = Field(None, gt=0, le=1, description="elastic checkpoints: the share of units that is loaded")
    generate: int = Field(8, ge=0, description="texts each model goes on with: how varied, how far both agree; 0: none")
    seed: int = 0


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
        for unit in ("heads", "channels"):
            self.prune_spec(unit)
        return self

    def prune_spec(self, unit: str) -> PruneSpec:
        """The pruning whose scores order the units."""
        shared = {name: getattr(self, name) for name in (*ModelOptions.model_fields, *CalibrationOptions.model_fields)}
        return PruneSpec.build(method=self.method, pattern=unit, seed=self.seed, **shared)


class SweepSpec(ModelOptions, CalibrationOptions):
    """Prune one model in every combination of the lists below and measure each on the same texts and masks.

    `sap_core.sweeps.grid` says which cells this makes; nothing here is checked against the other lists.
    """

    kind: Literal["sweep"] = "sweep"
    methods: tuple[str, ...] = ()
    patterns: tuple[str, ...] = Field(("unstructured",), min_length=1)
    sparsities: tuple[float, ...] = Field((0.5,), min_length=1, description="an N:M pattern has its own and one cell")
    orders: tuple[str, ...] = Field((AUTO,), min_length=1, description="sequential, one_shot, auto")
    allocations: tuple[str, ...] = Field(("uniform",), min_length=1, description="of the sparsity over the layers")
    compensations: tuple[str, ...] = Field(
        ("none",), min_length=1, description="patterns heads and channels: none, bias, weights"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="of calibration texts and noise")
    preset: str | None = Field(None, description="a ready list of variants in place of methods: ablation")
    skip_invalid: bool = Field(False, description="leave impossible combinations out, with the reason, not refuse")
    text: str | None = Field(None, description="FILE.txt to measure on; default: held-out stories of the demo corpus")
    texts: int = Field(32, ge=1, description="texts to measure on")
    draws: int = Field(8, ge=1, description="mask draws per text (diffusion models)")
    tasks: int = Field(0, ge=0, description="examples of each demo task, others for each seed; 0: no tasks")
    speed: bool = Field(False, description="time generation, in turns with the dense model")
    evaluation_seed: int = Field(0, description="of the texts and masks, the same for every cell")
    name: str = ""

    @model_validator(mode="after")
    def _something_to_do(self) -> SweepSpec:
        if bool(self.methods) == (self.preset is not None):
            raise InvalidInput("a sweep needs either methods, such as wanda,sink, or a preset, and not both.")
        return self


class AttentionMapSpec(Spec):
    """One full attention map of a captured run, computed again from the tokens that the run stored."""

    kind: Literal["attention_map"] = "attention_map"
    run: str = Field(description="folder of a capture run")
    step: int = Field(ge=0)
    layer: int = Field(ge=0)
    head: int | None = Field(None, ge=0, description="default: the mean over the layer's heads")
    sample: int = Field(0, ge=0, description="which prompt of the run")


def parse_spec(document: dict[str, Any]) -> Spec:
    """The spec a JSON document (a run's spec.json, a job file) stands for, by its ``kind``.

    Raises:
        UnknownOption: no such kind.
        InvalidInput: a field does not fit.
    """
    known = (
        CaptureSpec,
        PruneSpec,
        PruneCheckpointSpec,
        EvaluateSpec,
        ExportSpec,
        PushSpec,
        ElasticSpec,
        SweepSpec,
        AttentionMapSpec,
    )
    kinds = {cls.model_fields["kind"].default: cls for cls in known}
    kind = document.get("kind")
    if kind not in kinds:
        raise UnknownOption("kind of spec", kind, kinds)
    return kinds[kind].build(**document)


def check_rule(name: str) -> str:
    """The name of a sink rule, or an error that lists the rules."""
    if name not in SINK_RULES:
        raise UnknownOption("sink rule", name, SINK_RULES)
    return name


def _one_line(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        cause = (item.get("ctx") or {}).get("error")
        if isinstance(cause, InvalidInput):
            parts.append(str(cause))
            continue
        field = ".".join(str(part) for part in item["loc"]) or "spec"
        if item["type"] == "missing":
            parts.append(f"{field} is missing; it is required.")
            continue
        parts.append(f"{field} is {item.get('input')!r}: {item['msg'][0].lower()}{item['msg'][1:]}.")
    return " ".join(parts)
