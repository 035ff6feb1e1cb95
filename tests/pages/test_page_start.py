"""Start: before, during and after the demo."""

from __future__ import annotations

from page_text import words
from sample_runs import capture_run

from sap_core.progress import Progress
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
    capture_run(root, "drifting")
    capture_run(root, "fixed", objective="autoregressive", model="demo:stories-ar", steps=24)
    at = page("start")
    assert "**100%** of the steps" in words(at) and "**0%** of the steps" in words(at)
    assert "Compare the two" in words(at)


def test_missing_demo_models_are_said(page, monkeypatch):
    from sap_core.errors import ModelProblem

    def missing(ref):
        raise ModelProblem("the demo model was not found: make it with `sap demo train`")

    monkeypatch.setattr(results, "model_info", missing)
    at = page("start")
    assert "sap demo train" in at.error[0].value
