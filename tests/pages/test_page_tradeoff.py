"""Trade-off: measured plans as points, one taken to Prune, sweeps started, followed and gone on with, the ablation."""

from __future__ import annotations

import json

import pytest
from page_text import words
from sample_runs import prune_run, sweep_run

from sap_core.progress import Progress
from sap_core.specs import SweepSpec
from sap_core.sweeps.presets import ABLATION


def button(at, label):
    return next(one for one in at.button if one.label == label)


def traces(at):
    """Names of what the figure draws."""
    figure = json.loads(at.get("plotly_chart")[0].proto.spec)
    return {trace["name"] for trace in figure["data"]}


def test_without_a_measured_plan_it_says_what_to_do(page, tiny_diffusion):
    at = page("tradeoff", model=tiny_diffusion)
    assert "Start a sweep below, or apply a plan on Prune" in at.info[0].value


def test_applied_plans_and_sweeps_are_points_of_one_figure(page, root, tiny_diffusion):
    prune_run(root, model=str(tiny_diffusion), recorded=True)
    sweep_run(root, {"sink": (0.3, 0.5), "magnitude": (0.5,)}, model=str(tiny_diffusion), name="first")
    at = page("tradeoff", model=tiny_diffusion)
    methods = {f"{name}, unstructured" for name in ("Sink-aware", "Magnitude", "Wanda")}
    assert traces(at) == {"frontier", "dense", *methods}
    table = at.dataframe[0].value
    assert len(table) == 4 and set(table["measured in"]) == {"applied", "first"}
    assert list(table["loss increase (nats/token)"]) == sorted(table["loss increase (nats/token)"])


def test_what_was_not_timed_has_no_speed(page, root, tiny_diffusion):
    prune_run(root, model=str(tiny_diffusion))
    at = page("tradeoff", model=tiny_diffusion, cost="speed")
    assert "No plan has a value for speed of generation yet" in at.info[0].value


def test_a_plan_is_taken_to_the_form_of_prune(page, root, tiny_diffusion):
    run = sweep_run(root, {"sink": (0.3, 0.5)}, model=str(tiny_diffusion))
    at = page("tradeoff", model=tiny_diffusion)
    at.selectbox(key="plan_by_name").set_value(f"{run.name}/sink-0.5").run()
    button(at, "Open on Prune").click().run()
    assert "To page prune" in words(at)
    state = at.session_state
    assert (state["choice_method"], state["sparsity"], state["plan_in_form"]) == ("sink", 0.5, f"{run.name}/sink-0.5")


def test_the_form_makes_the_sweep_that_is_submitted(page, jobs, tiny_diffusion):
    at = page("tradeoff", model=tiny_diffusion)
    at.multiselect(key="sweep_methods").set_value(["wanda", "sink"]).run()
    at.text_input(key="sweep_sparsities").set_value("0.4, 0.6").run()
    assert "**5** models to measure" in words(at) and "--methods wanda,sink" in words(at)
    button(at, "Start the sweep").click().run()
    expected = SweepSpec.build(
        model=str(tiny_diffusion), methods=("wanda", "sink"), sparsities=(0.4, 0.6), skip_invalid=True, speed=True
    )
    assert jobs.submitted == [expected]


@pytest.mark.parametrize(("text", "reason"), [("half", "expected numbers with commas"), ("0.5, 0.5", "more than once")])
def test_a_sweep_that_can_not_be_is_one_line(page, tiny_diffusion, text, reason):
    at = page("tradeoff", state={"sweep_sparsities": text}, model=tiny_diffusion)
    assert reason in at.error[0].value and button(at, "Start the sweep").disabled


def test_a_running_sweep_is_followed(page, jobs, root, tiny_diffusion):
    run = sweep_run(root, {"sink": (0.3, 0.5)}, model=str(tiny_diffusion), waiting=("sink-0.5",))
    spec = SweepSpec.build(model=str(tiny_diffusion), methods=("sink",))
    job = jobs.put(spec, "running", run_path=run, progress=Progress("sweep", 2, 3, "sink-0.5"))
    at = page("tradeoff", state={"job_sweep": job}, model=tiny_diffusion)
    assert "1 measured plan," in words(at) and button(at, "Start the sweep").disabled
    assert not [one for one in at.button if one.label == "Go on"]  # it is at work


def test_a_sweep_that_stopped_goes_on_in_its_folder(page, jobs, root, tiny_diffusion):
    sweep_run(root, {"sink": (0.3, 0.5)}, model=str(tiny_diffusion), waiting=("sink-0.5",))
    at = page("tradeoff", model=tiny_diffusion)
    assert "stopped after 2 of 3 cells" in words(at)
    button(at, "Go on").click().run()
    assert jobs.submitted == [SweepSpec.build(model=str(tiny_diffusion), methods=("sink",))]


def test_the_ablation_says_which_part_each_variant_has(page, root, tiny_diffusion):
    assert "No ablation of this model yet" in words(page("tradeoff", model=tiny_diffusion))
    cells = [{**variant, "sparsity": 0.5} for variant in ABLATION]
    sweep_run(root, {}, model=str(tiny_diffusion), preset="ablation", cells=cells)
    table = page("tradeoff", model=tiny_diffusion).dataframe[-1].value
    assert len(table) == len(ABLATION)
    temporal = table[table["variant"] == "Sink-aware, lasting sinks kept"]
    assert set(temporal["temporal factor"]) == {"yes"} and list(temporal["sequential"]) == ["–", "yes"]
    assert set(table[table["variant"] == "Magnitude"]["looks at inputs"]) == {"–"}
