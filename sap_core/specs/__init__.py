"""One typed spec per action. The page, the command line, a notebook and a job file all build the same object.

A spec checks what can be checked without a model: names against their tables, ranges, combinations. What needs the
model (a length beyond its positions, a prompt longer than the canvas) is checked by the verb before any work.
Importing this module does not import torch.
"""

from .attention_map import AttentionMapSpec
from .base import AUTO, Spec
from .calibration import CalibrationOptions
from .capture import CaptureSpec
from .evaluate import EvaluateSpec
from .export import ElasticSpec, ExportSpec, PushSpec
from .model import ModelOptions
from .parse import parse_spec
from .prune import PruneCheckpointSpec, PruneSpec
from .sampling import SamplingOptions
from .sweep import SweepSpec

__all__ = [
    "AUTO",
    "AttentionMapSpec",
    "CalibrationOptions",
    "CaptureSpec",
    "ElasticSpec",
    "EvaluateSpec",
    "ExportSpec",
    "ModelOptions",
    "PruneCheckpointSpec",
    "PruneSpec",
    "PushSpec",
    "SamplingOptions",
    "Spec",
    "SweepSpec",
    "parse_spec",
]
