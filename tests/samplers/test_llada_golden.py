"""Greedy generation equals that of the method's public code, token for token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sap_core.models.loading import load_model
from sap_core.samplers.canvas import canvas_of_ids
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

SETTINGS = {
    "low_confidence": {"steps": 16},
    "blocks": {"steps": 16, "block_length": 8},
    "few_steps": {"steps": 4},
    "cfg": {"steps": 8, "guidance": 1.5},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_are_equal(golden: Path, name: str) -> None:
    model = load_model(str(golden / "tiny-llada"), device="cpu")
    prompt = np.load(golden / "calibration_tokens.npy")[0][:32].tolist()
    spec = SamplingOptions.build(length=48, **SETTINGS[name])
    *_, last = sample(model, canvas_of_ids(model, [prompt], 48), spec)
    assert np.array_equal(last.next_tokens.numpy(), np.load(golden / f"generate-{name}.npy"))
