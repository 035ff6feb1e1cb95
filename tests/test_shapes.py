"""Shapes in signatures are executed: a call with another shape is an error under pytest."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from shape_checks import CHECKED

ROOT = Path(__file__).resolve().parents[1]


def test_an_array_of_another_shape_is_an_error():
    from sap_core.sinks.motion import temporal_variance

    received = np.full((4, 3, 5), 0.2)
    temporal_variance(received, received > 0.1)
    with pytest.raises(jaxtyping.TypeCheckError, match="sinks"):
        temporal_variance(received, np.ones((4, 3, 6), bool))
    with pytest.raises(jaxtyping.TypeCheckError, match="received"):
        temporal_variance(received.astype(int), received > 0.1)


def test_a_tensor_of_another_shape_is_an_error():
    from sap_core.pruning.scoring.scores import wanda

    assert wanda(torch.ones(2, 3), torch.ones(3)).shape == (2, 3)
    with pytest.raises(jaxtyping.TypeCheckError, match="norms"):
        wanda(torch.ones(2, 3), torch.ones(2))


def test_a_result_with_a_field_of_another_shape_is_an_error():
    from sap_core.attention.row_statistics import LayerStatistics

    good = torch.zeros(2, 4, 8)
    LayerStatistics(good, good, good[..., 0], good[..., 0])
    with pytest.raises(jaxtyping.TypeCheckError, match="distance"):
        LayerStatistics(good, good, good[..., 0], good)


@pytest.mark.parametrize("name", CHECKED)
def test_every_annotation_of_a_shape_can_be_resolved(name: str):
    # One that can't, for a name that is imported for types alone, would be checked as Any without a word.
    module = importlib.import_module(name)
    text = Path(str(module.__file__)).read_text()
    for annotation in re.findall(r"(?:Float|Int|Bool|Shaped|UInt8)\[[\w.]+, \"[^\"]*\"\]", text):
        assert issubclass(eval(annotation, vars(module)), jaxtyping.AbstractArray), annotation


def test_shapes_cost_no_torch():
    code = "import sys, sap_core.sinks.motion, sap_core.trajectory.access; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
