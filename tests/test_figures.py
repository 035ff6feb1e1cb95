"""One function draws every figure of the studio, for every kind of run."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest
from sample_runs import capture_run, prune_run

import sap_core as sap
from sap_core.choices.figure_kinds import FIGURE_KINDS
from sap_core.errors import InvalidInput, RunProblem, UnknownOption

ASKED = {"components": {"layer": 1, "head": 2}}
MODEL = {"attention_map", "plan_heads"}  # load a model, or need a plan of heads
# Of interventions, whose own tests draw them.
MODEL |= {kind for kind in FIGURE_KINDS if kind.startswith("blocking") or kind in ("damage", "rankings")}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    causal = capture_run(root, "fixed", objective="autoregressive", model="demo:stories-ar", steps=24)
    return [sap.open_run(path) for path in (causal, capture_run(root, "drifting"), prune_run(root))]


def test_every_kind_is_drawn(opened):
    causal, diffusion, pruned = opened
    for kind in set(FIGURE_KINDS) - MODEL:
        runs = [pruned] if kind.startswith("plan") else [diffusion]
        if kind in ("difference", "claims", "entropy", "distance", "masked_share", "sinks"):
            runs = [causal, diffusion]
        drawn = sap.figure(*runs, kind=kind, **ASKED.get(kind, {}))
        assert isinstance(drawn, go.Figure) and drawn.data, kind


def test_what_a_kind_does_not_use_or_take_is_an_error(opened):
    _, diffusion, pruned = opened
    with pytest.raises(UnknownOption, match="heatmap"):
        sap.figure(diffusion, kind="heatmaps")
    with pytest.raises(InvalidInput, match="does not use it"):
        sap.figure(diffusion, kind="heads", layer=1)
    with pytest.raises(InvalidInput, match="takes 2"):
        sap.figure(diffusion, kind="difference")
    with pytest.raises(RunProblem, match="takes a run of kind capture"):
        sap.figure(pruned)
    with pytest.raises(InvalidInput, match="steps 0 to 11"):
        sap.figure(diffusion, step=12)
    with pytest.raises(RunProblem, match="removed no whole heads"):
        sap.figure(pruned, kind="plan_heads")
