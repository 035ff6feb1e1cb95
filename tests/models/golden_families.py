"""Tiny checkpoints in the formats of published families, with the logits and texts that their published code gives.

``tests/golden/families/README.md`` says how they were made.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from tiny_models import GOLDEN
from torch import Tensor

MASK, END = 500, 501


@dataclass(frozen=True)
class Golden:
    """One folder: how it is loaded, as which family, and which of its tensors are logits."""

    folder: str
    family: str
    logits: str = "logits"
    config: dict[str, Any] = field(default_factory=dict)  # fields that the tiny config.json lacks


CASES = {
    "llada2": Golden("llada2", "llada2", "logits_block4", {"block_size": 4}),
    "rnd1": Golden("rnd1", "rnd1"),
    "fast_dllm_v2": Golden("fast_dllm_v2", "fast-dllm-v2", config={"mask_token_id": MASK}),
    "a2d": Golden("a2d", "a2d"),
    "a2d-blocks": Golden("a2d", "a2d-blocks", "logits_bd3lm_block4", {"block_size": 4}),
    "dream": Golden("dream", "dream"),
    "sdar": Golden("sdar", "sdar"),
    "open_dllm": Golden("open_dllm", "native-diffusion", config={"is_causal": False, "sap_shift_logits": True}),
}


def checkpoint(name: str, folder: Path) -> Path:
    """Copies the checkpoint of case ``name``, with what its config.json has to say beyond what is published."""
    case = CASES[name]
    shutil.copytree(GOLDEN / "families" / case.folder / "checkpoint", folder, dirs_exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | case.config))
    return folder


def expected(name: str) -> dict[str, Tensor]:
    """The published code's tensors: input_ids, prompt, logits, generation.NAME."""
    return load_file(GOLDEN / "families" / CASES[name].folder / "expected.safetensors")
