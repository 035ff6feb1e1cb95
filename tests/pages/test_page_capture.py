"""Capture: the form, the estimate, running, failed, cancelled and finished jobs."""

from __future__ import annotations

from page_text import words
from sample_runs import capture_run

from sap_core.progress import Progress
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec, ConventionsSpec


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


def test_the_settings_that_a_sampler_reads_are_offered(page, jobs, tiny_diffusion):
    at = page("capture", state={"sampler": "entropy_bounded"}, model=tiny_diffusion)
    shown = {box.key for box in at.number_input if str(box.key).startswith("sampling_")}
    assert shown == {"sampling_top_k", "sampling_top_p", "sampling_entropy_limit"}
    at.number_input(key="sampling_entropy_limit").set_value(0.3).run()
    at.selectbox(key="sampling_ends").set_value("logits_eos_inf").run()
    at.selectbox(key="sampling_cache").set_value("dual").run()
    next(button for button in at.button if button.label == "Run").click().run()
    spec = jobs.submitted[0]
    assert (spec.entropy_limit, spec.ends, spec.cache, spec.top_k) == (0.3, "logits_eos_inf", "dual", None)
    remasking = page("capture", state={"sampler": "remdm_cap"}, model=tiny_diffusion)
    assert {box.key for box in remasking.number_input if str(box.key).startswith("sampling_")} == {"sampling_remasking"}
    assert not [box for box in remasking.selectbox if box.key == "sampling_cache"]


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
    assert at.selectbox(key="prompt_set").value is None  # nobody knows the language of a model of one's own
    assert "Choose a set" in at.error[0].value and "code (Python and SQL)" in at.selectbox(key="prompt_set").options
    at.selectbox(key="prompt_set").select("english").run()
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
    assert "from 1 earlier run" in words(at)


def test_the_prompt_of_the_demo_is_not_put_before_other_models(page, jobs, tiny_diffusion):
    at = page("capture", model=tiny_diffusion, state={"prompt": "once there was a"})
    assert at.text_area(key="prompt").value == ""
    at = page("capture", model=tiny_diffusion)
    assert at.text_area(key="prompt").value == ""


def button(at, label):
    return next(one for one in at.button if one.label == label)


def test_conventions_are_checked_in_one_click_and_the_best_are_used_in_another(page, jobs, root, tiny_diffusion):
    at = page("capture", model=tiny_diffusion)
    button(at, "Check conventions").click().run()
    assert not at.exception and isinstance(jobs.submitted[0], ConventionsSpec)
    assert jobs.submitted[0].model == str(tiny_diffusion)
    assert button(at, "Check conventions").disabled  # while it runs

    in_use = {"causal": False, "shift_logits": False, "block_size": None, "note": "", "options": "--bidirectional"}
    better = in_use | {
        "causal": True,
        "shift_logits": True,
        "options": "--causal",
        "in_use": False,
        "nats_per_token": 2.0,
    }
    report = {
        "model": str(tiny_diffusion), "measured_on": "plain English", "windows": 8, "alike": [],
        "readings": [better, in_use | {"in_use": True, "nats_per_token": 7.5}], "better": better,
        "verdict": "--causal explains the texts far better",
    }  # fmt: skip
    with create_run("conventions", jobs.submitted[0], root=root) as run:
        run.finish(report)
    job = jobs.put(jobs.submitted[0], "finished", run_path=run.path)
    at = page("capture", state={"job_conventions": job}, model=tiny_diffusion)
    assert "far better" in at.warning[0].value
    table = next(frame.value for frame in at.dataframe if "nats per token" in frame.value)
    assert table["nats per token"].tolist() == [2.0, 7.5] and table[""].tolist()[1] == "in use"
    button(at, "Use the best").click().run()
    assert not at.exception and at.session_state["causal"] is True and at.session_state["shift_logits"] is None
    button(at, "Run").click().run()
    assert jobs.submitted[-1].causal is True  # the options of the form hold it
