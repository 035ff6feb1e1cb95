"""Prune: the plan follows the form; apply, results, candidates."""

from __future__ import annotations

import pytest
from page_text import words
from sample_runs import capture_run, prune_run, sweep_run

from sap_core.runs.listing import list_runs
from sap_core.runs.reading import open_run
from sap_core.specs import PruneSpec, build_prune_spec


def apply(at):
    return next(button for button in at.button if button.label == "Apply")


def test_the_plan_follows_the_slider(page, tiny_diffusion):
    at = page("prune", model=tiny_diffusion, method="sink")
    assert at.metric[1].value == "50.0%"
    at.slider(key="sparsity").set_value(0.25).run()
    assert at.metric[1].value == "25.0%"


def test_a_pattern_fixes_the_sparsity(page, jobs, tiny_diffusion):
    at = page("prune", model=tiny_diffusion, pattern="2:4")
    assert at.metric[1].value == "50.0%"
    apply(at).click().run()
    assert jobs.submitted[0] == PruneSpec(
        model=str(tiny_diffusion), method="noised_sparsegpt", pattern="2:4", sparsity=0.5, samples=16
    )


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


@pytest.mark.parametrize("text", ["0.800 ± 0.020", "0.860 ± 0.020", "+0.060 ± 0.010", "67%", "× 1.20", "2.1 s"])
def test_a_result_shows_both_likelihoods_and_their_difference(page, root, tiny_diffusion, text):
    prune_run(root, model=str(tiny_diffusion), recorded=True)
    assert text in [metric.value for metric in page("prune", model=tiny_diffusion).metric]


def test_the_speed_has_the_interval_of_its_turns(page, root, tiny_diffusion):
    prune_run(root, model=str(tiny_diffusion), recorded=True)
    assert "95 %: × 1.10 to 1.30" in [metric.delta for metric in page("prune", model=tiny_diffusion).metric]


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
    job = jobs.put(
        PruneSpec(model=str(tiny_diffusion), method="sink"),
        "failed",
        error="calibration file x is empty; give another.",
    )
    at = page("prune", state={"job_prune": job}, model=tiny_diffusion)
    assert "calibration file x is empty" in at.error[0].value


def test_the_predicted_loss_comes_from_measured_plans_with_an_interval(page, root, tiny_diffusion):
    assert "unknown" in words(page("prune", model=tiny_diffusion, method="wanda"))
    sweep_run(root, {"wanda": (0.4, 0.6)}, model=str(tiny_diffusion))
    at = page("prune", model=tiny_diffusion, method="wanda")
    assert "between measured sparsities, from 2 measured plans of this kind" in words(at)
    at.slider(key="sparsity").set_value(0.6).run()
    assert "+0.630 (+" in words(at) and "measured at this sparsity" in words(at)
    at.slider(key="sparsity").set_value(0.8).run()
    assert "at least +0.840" in words(at) and "beyond the highest sparsity" in words(at)


def test_what_is_protected_is_said(page, tiny_diffusion):
    shown = words(page("prune", model=tiny_diffusion))
    assert "Protected:" in shown and "embeddings, norms and the output" in shown


def test_both_models_are_seen_writing_under_one_slider(page, root, tiny_diffusion):
    prune_run(root, model=str(tiny_diffusion), recorded=True)
    at = page("prune", model=tiny_diffusion)
    both = next(slider for slider in at.slider if slider.label == "Step of both")
    both.set_value(5).run()
    shown = words(at)
    assert "Dense, step 5 of 5: 16 of 16 positions written" in shown and "Pruned, step 5 of 5" in shown


def test_undo_goes_back_to_the_plan_before_and_then_to_the_dense_model(page, root, tiny_diffusion):
    for share in (0.3, 0.7):
        prune_run(root, model=str(tiny_diffusion), sparsity=share)
    newer, older = list_runs(root)
    at = page("prune", model=tiny_diffusion, method="magnitude", result=newer.id)
    next(button for button in at.button if button.label == "Undo").click().run()
    assert at.query_params["result"] in (older.id, [older.id]) and at.selectbox(key="choice_method").value == "wanda"
    assert at.slider(key="sparsity").value == open_run(older.path).spec["sparsity"]
    next(button for button in at.button if button.label == "Undo").click().run()
    assert at.query_params["result"] in ("dense", ["dense"]) and not [b for b in at.button if b.label == "Undo"]
    assert len(list_runs(root)) == 2  # nothing is lost


@pytest.mark.parametrize(
    ("address", "state", "expected"),
    [
        ({"decided": "search", "goal": "memory"}, {}, {"method": "sink", "preset": "memory"}),
        (
            {"decided": "search", "goal": "own", "method": "wanda"},
            {"target_speedup": 1.5, "quality_drop": 0.1},
            {"method": "wanda", "target_speedup": 1.5, "quality_drop": 0.1},
        ),
        (
            {"decided": "progressive", "method": "wanda"},
            {"budget": 0.1, "sparsity": 0.6},
            {"method": "wanda", "budget": 0.1, "sparsity": 0.6},
        ),
    ],
)
def test_a_goal_or_a_budget_decides_instead(page, jobs, tiny_diffusion, address, state, expected):
    at = page("prune", state=state, model=tiny_diffusion, **address)
    apply(at).click().run()
    assert jobs.submitted[0] == build_prune_spec(model=str(tiny_diffusion), **{"samples": 16} | expected)


def test_every_setting_of_a_plan_comes_back_into_the_form(page, root, jobs, tiny_diffusion):
    fields = {"method": "wanda", "sparsity": 0.4, "order": "one_shot", "compare": "matrix", "samples": 7, "seed": 3}
    fields |= {"allocation": "table", "allocation_table": (0.3, 0.4, 0.5), "calibration_length": 32}
    prune_run(root, model=str(tiny_diffusion), **fields)
    at = page("prune", model=tiny_diffusion)
    next(button for button in at.button if button.label.startswith("Set the form")).click().run()
    apply(at).click().run()
    assert jobs.submitted[0] == PruneSpec.build(model=str(tiny_diffusion), **fields)


def test_a_compensation_comes_back_into_the_form(page, root, jobs, tiny_diffusion):
    fields = {"method": "wanda", "pattern": "channels", "sparsity": 0.5, "samples": 7, "compensate": "bias"}
    prune_run(root, model=str(tiny_diffusion), **fields)
    at = page("prune", model=tiny_diffusion)
    next(button for button in at.button if button.label.startswith("Set the form")).click().run()
    apply(at).click().run()
    assert jobs.submitted[0] == PruneSpec.build(model=str(tiny_diffusion), **fields)


def test_a_compensation_as_older_runs_wrote_it_is_read():
    asked = {"model": "m", "method": "wanda", "pattern": "channels"}
    found = [PruneSpec.build(compensate=value, **asked).compensate for value in (False, True)]
    assert found == ["none", "bias"]


def test_what_applying_takes_is_told_before(page, tiny_diffusion):
    assert "Both take" in words(page("prune", model=tiny_diffusion))
