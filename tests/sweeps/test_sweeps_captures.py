"""Many prompts through an executor: each a run of its own, gone on with, and what can't be is said first."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sap_core import capture, capture_each, open_run
from sap_core.errors import InvalidInput, OperationFailed
from sap_core.progress import Progress
from sap_core.sweeps.tasks import Event
from sap_core.sweeps.worker import make_runner


class Here:
    """An executor without processes."""

    def run(self, tasks, runner, options):
        working = make_runner(runner, options)
        for task in tasks:
            yield Event("begun", task)
            try:
                yield Event("finished", task, working.run(task.payload))
            except Exception as error:
                yield Event("failed", task, error=str(error))

    def close(self):
        pass


PROMPTS = ("w1 w2 w3", "w4 w5", "w6")
FIELDS = {"length": 12, "steps": 3, "device": "cpu"}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs"


def manifests(out) -> dict[str, str]:
    return {path.name: (path / "manifest.json").read_text() for path in out.iterdir()}


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_each_prompt_is_a_run_like_the_one_captured_alone(tiny_diffusion, out, tmp_path):
    seen: list[Progress] = []
    runs = capture_each(str(tiny_diffusion), PROMPTS, out=out, workers=2, name="set", progress=seen.append, **FIELDS)
    assert [run.path.name for run in runs] == ["prompt-0000", "prompt-0001", "prompt-0002"]
    assert [run.spec["prompts"] for run in runs] == [[prompt] for prompt in PROMPTS]
    assert [run.name for run in runs] == ["set 1", "set 2", "set 3"]
    alone = capture(str(tiny_diffusion), PROMPTS[1], out=tmp_path / "alone", **FIELDS)
    assert runs[1].text == alone.text
    for name in ("received", "token", "confidence"):
        np.testing.assert_array_equal(runs[1].trajectory[name].values, alone.trajectory[name].values)
    assert seen[-1].done == seen[-1].total == 3


def test_finished_runs_are_not_made_again_and_an_unfinished_one_is(tiny_diffusion, out):
    capture_each(str(tiny_diffusion), PROMPTS, out=out, executor=Here(), **FIELDS)
    before = manifests(out)
    (out / "prompt-0001" / "manifest.json").unlink()  # as a worker that was killed leaves it
    again = capture_each(str(tiny_diffusion), PROMPTS, out=out, executor=Here(), **FIELDS)
    assert [run.state for run in again] == ["finished"] * 3
    assert {name for name, text in manifests(out).items() if text != before[name]} == {"prompt-0001"}


def test_what_cannot_be_is_said_before_any_work(tiny_diffusion, tiny_causal, out):
    model = str(tiny_diffusion)
    with pytest.raises(InvalidInput, match="list of texts"):
        capture_each(model, "w1", out=out, executor=Here(), **FIELDS)
    with pytest.raises(InvalidInput, match="list of texts"):
        capture_each(model, (), out=out, executor=Here(), **FIELDS)
    with pytest.raises(InvalidInput, match="workers is 0"):
        capture_each(model, PROMPTS, out=out, workers=0, **FIELDS)
    with pytest.raises(InvalidInput, match="query_stride is 2"):
        capture_each(str(tiny_causal), PROMPTS, out=out, query_stride=2, **FIELDS)
    assert not out.exists()
    capture_each(model, PROMPTS[:1], out=out, executor=Here(), **FIELDS)
    with pytest.raises(InvalidInput, match="something other than this prompt's run"):
        capture_each(model, PROMPTS[1:], out=out, executor=Here(), **FIELDS)
    assert open_run(out / "prompt-0000").spec["prompts"] == [PROMPTS[0]]


def test_a_prompt_that_fails_leaves_the_others(tiny_diffusion, out):
    prompts = (PROMPTS[0], " ".join(["w1"] * 40), PROMPTS[1])
    with pytest.raises(OperationFailed, match=r"1 of 3 prompts failed; the first, prompt-0001: .*40.*tries the rest"):
        capture_each(str(tiny_diffusion), prompts, out=out, executor=Here(), **FIELDS)
    assert open_run(out / "prompt-0000").state == open_run(out / "prompt-0002").state == "finished"


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_the_command_makes_the_same_runs(tiny_diffusion, out, capsys):
    from sap_core.cli import main

    asked = ["capture", "--model", str(tiny_diffusion), "--length", "12", "--steps", "3", "--device", "cpu"]
    asked += ["--prompt", "w1 w2 w3", "--prompt", "w4 w5", "--json"]
    assert main([*asked, "--workers", "2", "--out", str(out)]) == 2
    assert "--workers belongs to --executor" in capsys.readouterr().err
    assert main([*asked, "--executor", "local", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in told] == ["finished", "finished"]
    made = manifests(out)
    runs = capture_each(str(tiny_diffusion), PROMPTS[:2], out=out, executor=Here(), **FIELDS)
    assert manifests(out) == made and [run.text for run in runs] == [one["text"] for one in told]
