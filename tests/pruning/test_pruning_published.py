"""The yardstick of benchmarks/pruning.py is the published algorithm: its masks are those of the public code."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sap_core.models.loading import load_model

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import published


@pytest.fixture(scope="module")
def llada(golden):
    return load_model(str(golden / "tiny-llada"))


def masks(model, golden, name: str) -> dict[str, torch.Tensor]:
    stored = load_file(golden / f"{name}.safetensors")
    return {model.info.keys[key].removesuffix(".weight"): value == 0 for key, value in stored.items()}


def test_the_plain_loops_find_the_published_masks(llada, golden):
    texts = torch.from_numpy(np.load(golden / "calibration_tokens.npy"))
    norms = published.sink_norms(llada, texts, seed=0)
    found = {
        "sink-0.5": published.row_masks(llada, norms, 0.5),
        "sink-0.7": published.row_masks(llada, norms, 0.7),
        "wanda-2of4": published.wanda_masks(llada.clone(), texts, 2, 4),
        "wanda-4of8": published.wanda_masks(llada.clone(), texts, 4, 8),
        "magnitude-2of4": published.magnitude_masks(llada, 2, 4),
    }
    for name, mine in found.items():
        theirs = masks(llada, golden, name)
        assert set(mine) == set(theirs)
        assert all(mine[key].equal(theirs[key]) for key in theirs), name
