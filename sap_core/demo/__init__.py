"""The demo: a corpus of stories whose faults can be counted exactly, and the two small models trained on it.

`corpus` writes stories from a seed, `faults` lists what is wrong with a text, `tasks` poses and scores three tasks,
`train` makes both models from nothing, `report` measures them. Only `train`, `report` and what they use import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sap_core.demo.checkpoints import MODELS, checkpoint_path
from sap_core.demo.corpus import Story, entropy_rate, generate, generate_stories
from sap_core.demo.faults import Fault, answer_to, story_faults, summary_faults
from sap_core.demo.tasks import TASKS, Example, examples

if TYPE_CHECKING:
    from sap_core.demo.report import demo_report
    from sap_core.demo.train import train_demo

_LAZY = {
    "train_demo": "sap_core.demo.train",
    "demo_report": "sap_core.demo.report",
    "build_tokenizer": "sap_core.demo.tokenizer",
}

__all__ = [
    "MODELS",
    "TASKS",
    "Example",
    "Fault",
    "Story",
    "answer_to",
    "build_tokenizer",
    "checkpoint_path",
    "demo_report",
    "entropy_rate",
    "examples",
    "generate",
    "generate_stories",
    "story_faults",
    "summary_faults",
    "train_demo",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
