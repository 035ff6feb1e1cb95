"""Capture: the form, the estimate, running, failed, cancelled and finished jobs."""

from __future__ import annotations

from page_text import words
from sample_runs import capture_run

from sap_core.progress import Progress
from sap_core.specs import CaptureSpec


def test_the_form_makes_the_spec_that_is_submitted(page, jobs, tiny_diffusion):
    at = page("capture", model=tiny_diffusion)
    at.text_area(key="prompt").set_value("w1 w2").run()
    at.number_input(key="length").set_value(40).run()
    at.number_input(key="steps_masked_diffusion").set_value(8).run()
    next(button for button in at.button if button.label == "Run").click().run()
    spec = jobs.submitted[0]
    assert (spec.prompts, spec.length, spec.steps, spec.sampler) == (("w1 w2",), 40, 8, "low_confidence")
    assert "Waiting for the worker" in str(at.get("progress")) or at.session_state["job_capture"] == "job-0"


def test_several_prompts(page, jobs, tiny_diffusion):
    at = page("capture", state={"prompt_source": "several", "prompt": "w1\n\nw2 w3"}, model=tiny_diffusion)
    next(button for button in at.button if button.label == "Run").click().run()
    assert jobs.submitted[0].prompts == ("w1", "w2 w3")


def test_an_autoregressive_model_has_no_diffusion_options(page, tiny_causal):
    at = page("capture", model=tiny_causal)
    assert not [box for box in at.selectbox if box.label == "Sampler"]


def test_a_model_that_is_not_there_is_one_line(page, tmp_path):
    at = page("capture", model=tmp_path / "nothing")
    assert len(at.error) == 1 and "nothing" in at.error[0].value
    assert not [button for button in at.button if button.label == "Run"]


def test_a_model_that_does_not_fit_can_not_be_run(page, tiny_diffusion, monkeypatch):
    monkeypatch.setattr("sap_core.ui.capture.panels.available_memory", lambda device: 1000)
    at = page("capture", model=tiny_diffusion)
    assert "Does not fit" in at.error[0].value
    assert next(button for button in at.button if button.label == "Run").disabled


def test_a_running_job_shows_text_and_progress_and_can_be_cancelled(page, jobs, root, tiny_diffusion):
    path = capture_run(root, steps=12, written=4, state="running")
    report = Progress("denoise", 4, 12, "Denoising", {"text": "once <b>upon", "step_seconds": 0.5})
    job = jobs.put(CaptureSpec(model=str(tiny_diffusion)), "running", run_path=path, progress=report)
    at = page("capture", state={"job_capture": job}, model=tiny_diffusion)
    assert "once <b>upon" in words(at)
    assert next(button for button in at.button if button.label == "Run").disabled
    next(button for button in at.button if button.label == "Cancel").click().run()
    assert jobs.cancelled == [job]


def test_a_failed_job_is_one_line_with_what_to_do(page, jobs, tiny_diffusion):
    error = "The worker process was killed (SIGKILL); try a smaller model."
    job = jobs.put(CaptureSpec(model=str(tiny_diffusion)), "failed", error=error)
    at = page("capture", state={"job_capture": job}, model=tiny_diffusion)
    assert "killed" in at.error[0].value and "smaller model" in at.error[0].value


def test_a_finished_job_leads_on(page, jobs, root, tiny_diffusion):
    path = capture_run(root, steps=12)
    job = jobs.put(CaptureSpec(model=str(tiny_diffusion)), "finished", run_path=path)
    at = page("capture", state={"job_capture": job}, model=tiny_diffusion)
    assert "12 steps captured" in words(at) and "See it unfold" in words(at)


def test_a_cancelled_job_keeps_its_steps(page, jobs, root, tiny_diffusion):
    path = capture_run(root, steps=12, written=5, state="cancelled")
    job = jobs.put(CaptureSpec(model=str(tiny_diffusion)), "cancelled", run_path=path)
    at = page("capture", state={"job_capture": job}, model=tiny_diffusion)
    assert "5 steps captured" in words(at) and "kept" in at.warning[0].value


def test_a_ready_set_and_a_file_are_batches(page, jobs, tiny_diffusion, tmp_path):
    at = page("capture", state={"prompt_source": "set"}, model=tiny_diffusion)
    next(button for button in at.button if button.label == "Run").click().run()
    assert len(jobs.submitted[0].prompts) == 4
    at = page(
        "capture", state={"prompt_source": "file", "prompt_file": str(tmp_path / "none.txt")}, model=tiny_diffusion
    )
    assert "does not exist" in at.error[0].value


def test_the_time_is_told_before_and_follows_earlier_runs(page, root, tiny_diffusion):
    assert "Time is rough" in words(page("capture", model=tiny_diffusion))
    capture_run(root, model=str(tiny_diffusion), positions=64, step_seconds=2.0)
    at = page("capture", state={"length": 64, "steps_masked_diffusion": 30}, model=tiny_diffusion)
    assert at.dataframe[0].value.set_index("what").loc["time, about", "needs"] == "1 min 00 s"
    assert "pace of 1 earlier run" in words(at)
