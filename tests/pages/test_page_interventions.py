"""Interventions: the form makes the spec, and a finished measurement of each kind is drawn and leads on to Prune."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from page_text import words
from sample_runs import capture_run

import sap_core as sap
from sap_core.errors import RunProblem
from sap_core.interventions.heads import ablate_heads
from sap_core.interventions.sinks import ablate_sinks
from sap_core.specs import AblateHeadsSpec, AblateSinksSpec

pytestmark = pytest.mark.slow


def figures(at) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def numbers(values) -> list[float]:
    """The numbers of an axis, which plotly packs where they are an array."""
    if isinstance(values, dict):
        values = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return [float(value) for value in values]


def without_help(at) -> list[str]:
    kinds = ("selectbox", "number_input", "text_input", "toggle", "multiselect")
    return [f"{kind} {one.label!r}" for kind in kinds for one in at.get(kind) if not getattr(one.proto, "help", "")]


def test_blocked_sinks_are_drawn_and_the_form_makes_their_spec(page, jobs, root, tiny_diffusion):
    model = str(tiny_diffusion)
    done = ablate_sinks(model, out=root / "ablate_sinks-1", top=(0, 2), samples=3, draws=2, generate=2, parts=2,
                        each_head=True)  # fmt: skip
    at = page("interventions", model=model)
    assert without_help(at) == []
    blocking, levels, parts, single = figures(at)
    lines = {trace["name"]: trace for trace in blocking["data"] if trace.get("name")}
    assert set(lines) == {"sinks", "as many others", "others of equal mass"}
    loss = [one["difference"]["nats_per_token"] for one in done.result["conditions"] if one["head"] is None]
    assert numbers(lines["sinks"]["y"]) == pytest.approx(loss[:2]) and numbers(
        lines["as many others"]["y"]
    ) == pytest.approx([0, loss[2]])
    assert len(parts["data"]) == 3 and single["data"][0]["type"] == "heatmap" and levels["data"]
    for kind in ("blocking", "blocking_levels", "blocking_parts", "blocking_heads"):
        assert sap.figure(done, kind=kind).data
    with pytest.raises(RunProblem, match="takes a run of kind ablate_heads"):
        sap.figure(done, kind="damage")
    at.text_input(key="top").set_value("1, 3").run()
    at.number_input(key="ablation_samples").set_value(5).run()
    next(one for one in at.button if one.label == "Measure").click().run()
    assert jobs.submitted == [AblateSinksSpec(model=model, top=(1, 3), samples=5, draws=4, generate=4)]
    at.text_input(key="top").set_value("one").run()
    assert "expected whole numbers" in words(at)


def test_the_damage_of_heads_is_drawn_and_leads_on_to_prune(page, root, tiny_diffusion):
    model = str(tiny_diffusion)
    capture_run(root, "drifting", name="of another model")
    done = ablate_heads(model, out=root / "ablate_heads-1", samples=4, draws=2, scores=("wanda",), greedy=1)
    at = page("interventions", model=model, what="heads", score="wanda", layer="1", head="2")
    assert without_help(at) == [] and not at.exception
    assert at.selectbox(key="choice_ranking").options == ["a short text that it writes"]
    scatter, curves = figures(at)
    assert numbers(scatter["data"][0]["y"]) == pytest.approx(
        [one["damage"]["nats_per_token"] for one in done.result["heads"]]
    )
    assert {trace.get("name") for trace in curves["data"]} >= {
        "measured damage",
        "greedy group",
        "random orders",
        "wanda",
    }
    assert sap.figure(done, kind="damage").data and sap.figure(done, kind="rankings").data
    told = words(at)
    assert "To page prune" in told or "Prune by measured damage" in told
    assert len(at.dataframe[0].value) == 12
    pruned = page("prune", model=model, method="measured", ranking="ablate_heads-1", sparsity="0.25")
    assert "sap prune" in words(pruned) and "--method measured" in words(pruned) and not pruned.exception
    assert AblateHeadsSpec.build(**done.spec).greedy == 1
