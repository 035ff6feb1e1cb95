"""One typed spec per action. The page, the command line, a notebook and a job file all build the same object.

A spec checks what can be checked without a model: names against their tables, ranges, combinations. What needs the
model (a length beyond its positions, a prompt longer than the canvas) is checked by the action before any work.
Importing this module does not import torch.
"""

from .ablate import AblateHeadsSpec, AblateSinksSpec, AblationOptions
from .attention_map import AttentionMapSpec
from .base import AUTO, Spec, asked_spec, check_same_model, model_reference
from .calibration import CalibrationOptions
from .capture import CaptureSpec
from .conventions import ConventionsSpec
from .evaluate import EvaluateSpec
from .export import ElasticSpec, ExportSpec, PushSpec, VerifySpec
from .heal import HealSpec
from .model import CONVENTIONS, ModelOptions
from .parse import parse_spec
from .prune import PruneCheckpointSpec, PruneOptions, PruneSpec, SparsityOptions
from .prune_progressive import ProgressivePruneSpec
from .prune_search import SearchPruneSpec
from .prune_strategies import build_prune_spec, prune_default
from .sampling import SamplingOptions
from .sweep import SweepSpec

__all__ = [
    "AUTO",
    "CONVENTIONS",
    "AblateHeadsSpec",
    "AblateSinksSpec",
    "AblationOptions",
    "AttentionMapSpec",
    "CalibrationOptions",
    "CaptureSpec",
    "ConventionsSpec",
    "ElasticSpec",
    "EvaluateSpec",
    "ExportSpec",
    "HealSpec",
    "ModelOptions",
    "ProgressivePruneSpec",
    "PruneCheckpointSpec",
    "PruneOptions",
    "PruneSpec",
    "PushSpec",
    "SamplingOptions",
    "SearchPruneSpec",
    "SparsityOptions",
    "Spec",
    "SweepSpec",
    "VerifySpec",
    "asked_spec",
    "build_prune_spec",
    "check_same_model",
    "model_reference",
    "parse_spec",
    "prune_default",
]
