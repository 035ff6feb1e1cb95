"""Prune: the plan follows the form; apply, results, candidates."""

from __future__ import annotations

import pytest
from page_text import words
from sample_runs import capture_run, prune_run

from sap_core.specs import PruneSpec


def apply(at):
    return next(button for button in at.button if button.label == "Apply")


def test_the_plan_follows_the_slider(page, tiny_diffusion):
    at = page("prune", model=tiny_diffusion)
    assert at.metric[1].value == "50.0%"
    at.slider(key="sparsity").set_value(0.25).run()
    assert at.metric[1].value == "25.0%"


def test_a_pattern_fixes_the_sparsity(page, jobs, tiny_diffusion):
    at = page("prune", model=tiny_diffusion, pattern="2:4")
    assert at.metric[1].value == "50.0%"
    apply(at).click().run()
    assert jobs.submitted[0] == PruneSpec(model=str(tiny_diffusion), method="sink", pattern="2:4", sparsity=0.5)


def test_zero_sparsity_can_not_be_applied(page, tiny_diffusion):
    at = page("prune", model=tiny_diffusion)
    at.slider(key="sparsity").set_value(0.0).run()
    assert apply(at).disabled


def test_a_causal_model_has_no_method_that_needs_masks(page, tiny_causal):
    at = page("prune", model=tiny_causal)
    assert "Sink-aware" not in at.selectbox(key="choice_method").options


def test_heads_need_a_ranking_or_a_choice(page, root, jobs, tiny_diffusion):
    assert "No captured run to rank the heads by" in words(page("prune", model=tiny_diffusion, method="heads"))
    run = capture_run(root, "mixed", layers=3, heads=4)
    at = page("prune", model=tiny_diffusion, method="heads")
    assert at.metric[0].value == "6 of 12"
    apply(at).click().run()
    assert jobs.submitted[-1].run == str(run)


def test_a_ranking_of_another_model_is_an_error_line(page, root, tiny_diffusion):
    capture_run(root, "mixed", layers=2, heads=4)
    at = page("prune", model=tiny_diffusion, method="heads")
    assert "same model" in at.error[0].value


@pytest.mark.parametrize("text", ["0.800 ± 0.020", "0.860 ± 0.020", "+0.060 ± 0.010", "67%"])
def test_a_result_shows_both_likelihoods_and_their_difference(page, root, tiny_diffusion, text):
    prune_run(root, model=str(tiny_diffusion))
    assert text in [metric.value for metric in page("prune", model=tiny_diffusion).metric]


def test_text_of_a_model_is_escaped(page, root, tiny_diffusion):
    prune_run(root, model=str(tiny_diffusion))
    shown = "".join(str(item.proto.body) for item in page("prune", model=tiny_diffusion).get("html"))
    assert "&lt;b&gt;sat" in shown and "<b>sat" not in shown


def test_several_candidates_are_listed_and_one_can_be_loaded_into_the_form(page, root, tiny_diffusion):
    prune_run(root, model=str(tiny_diffusion), sparsity=0.3)
    second = prune_run(root, model=str(tiny_diffusion), sparsity=0.7, method="magnitude")
    at = page("prune", model=tiny_diffusion, result=second.name)
    assert len(at.dataframe[-1].value) == 2
    next(button for button in at.button if button.label.startswith("Set the form")).click().run()
    assert at.slider(key="sparsity").value == 0.7
    assert at.selectbox(key="choice_method").value == "magnitude"


def test_a_failed_job_is_one_line(page, jobs, tiny_diffusion):
    job = jobs.put(PruneSpec(model=str(tiny_diffusion)), "failed", error="calibration file x is empty; give another.")
    at = page("prune", state={"job_prune": job}, model=tiny_diffusion)
    assert "calibration file x is empty" in at.error[0].value
