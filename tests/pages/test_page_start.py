"""Start: before, during and after the demo."""

from __future__ import annotations

from page_text import words
from sample_runs import capture_run

from sap_core.progress import Progress
from sap_core.runs.reading import open_run
from sap_core.sinks.summary import sink_summary
from sap_core.ui.start import panels
from sap_core.ui.widgets import results


def allow_models(monkeypatch):
    monkeypatch.setattr(results, "model_info", lambda ref: None)


def test_one_click_submits_all_captures(page, jobs, monkeypatch):
    allow_models(monkeypatch)
    at = page("start")
    next(button for button in at.button if button.label == "Run the demo").click().run()
    assert not at.exception
    assert [spec.model for spec in jobs.submitted] == [spec.model for spec in panels.SPECS]


def test_while_it_runs_the_text_so_far_is_shown_and_the_button_is_off(page, jobs, monkeypatch):
    allow_models(monkeypatch)
    spec = panels.SPECS[0]
    job = jobs.put(spec, "running", progress=Progress("denoise", 3, 64, "Denoising", {"text": "once upon a [mask]"}))
    at = page("start", state={"job_stories-diffusion": job})
    assert "once upon a [mask]" in words(at)
    assert next(button for button in at.button if button.label == "Run the demo").disabled


def test_afterwards_both_runs_are_shown_with_their_numbers(page, root, monkeypatch):
    allow_models(monkeypatch)
    diffusion, causal = panels.SPECS
    capture_run(root, "drifting", spec=diffusion)
    capture_run(root, "fixed", objective="autoregressive", steps=24, spec=causal)
    capture_run(root, "mixed", model=diffusion.model)  # newer, but no run of the demo
    at = page("start")
    assert "**100%** of the steps" in words(at) and "**0%** of the steps" in words(at)
    assert "once upon a time" in words(at) and "Compare the models" in words(at)


def test_before_the_first_run_the_recorded_ones_are_shown(page, root, monkeypatch):
    allow_models(monkeypatch)
    at = page("start")
    assert not at.exception and "“once there was a" in words(at)
    assert "Compare the models" in words(at) and not list(root.glob("*"))


def test_the_numbers_under_a_figure_are_of_the_figure(page, root, monkeypatch):
    """Heads that move in step keep their mean still: the figure shows a still sink, and so must the number."""
    allow_models(monkeypatch)
    run = open_run(capture_run(root, "mixed", heads=8, spec=panels.SPECS[0]))
    at = page("start")
    received = run.trajectory["received"].mean(dim=("layer", "head")).values
    path = received.argmax(axis=1)
    rate = (path[1:] != path[:-1]).mean()
    assert f"changes in **{rate:.0%}** of the steps" in words(at)
    of_heads = sink_summary(run)["metrics"]["switch_rate"]["mean"]
    assert f"{of_heads:.0%}" != f"{rate:.0%}"


def test_missing_demo_models_are_said(page, monkeypatch):
    from sap_core.errors import ModelProblem

    def missing(ref):
        raise ModelProblem("the demo model was not found: make it with `sap demo train`")

    monkeypatch.setattr(results, "model_info", missing)
    at = page("start")
    assert "sap demo train" in at.error[0].value
