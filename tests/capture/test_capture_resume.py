"""A capture that was stopped goes on bit for bit as if it never had been."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from chosen import mostly_slow

import sap_core as sap
from sap_core.capturing.checkpoint import read_checkpoint
from sap_core.errors import Cancelled, InvalidInput, RunProblem
from sap_core.progress import Progress
from sap_core.runs.manifest import CHECKPOINT, MANIFEST
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.check import Sampling
from sap_core.samplers.dispatch import FROM_START, RUN, remembered, seeded
from sap_core.samplers.step import SamplerState
from sap_core.specs import SamplingOptions
from sap_core.trajectory.store import TrajectoryWriter

PROMPTS = ("w1 w2 w3 w4", "w5 w6")
DRAWN = {"temperature": 0.9, "seed": 5, "length": 20, "steps": 12}


def stop_after(steps: int, how: type[BaseException] = Cancelled):
    """A progress callback that ends the work after so many steps."""

    def progress(report: Progress) -> None:
        if report.stage in ("denoise", "generate") and report.done == steps:
            raise how("stop")

    return progress


def stopped(model, out: Path, after: int, how: type[BaseException] = Cancelled, **fields):
    with pytest.raises(how):
        sap.capture(model, prompts=PROMPTS, out=out, progress=stop_after(after, how), **fields)
    return out


def assert_same(one: Path, other: Path) -> None:
    first, second = sap.open_run(one), sap.open_run(other)
    assert (first.state, second.state) == ("finished", "finished")
    for a, b in zip(first.trajectories, second.trajectories, strict=True):
        assert set(a.variables) == set(b.variables) and a.attrs == b.attrs
        for name in a.variables:
            assert a[name].values.tobytes() == b[name].values.tobytes(), name
    results = [{k: v for k, v in run.result.items() if k != "step_seconds"} for run in (first, second)]
    assert results[0] == results[1]
    digests = [
        {name: entry for name, entry in run.manifest["files"].items() if "/c/" in name} for run in (first, second)
    ]
    assert digests[0] == digests[1] and digests[0]


@pytest.mark.parametrize(("at", "more"), mostly_slow([
    (7, {}), (1, {}), (12, {}), (12, {"guidance": 1.5}),
    (7, {"precision": "uint8", "query_stride": 2, "block_length": 4}),
], 1))  # fmt: skip
def test_a_resumed_run_is_an_uninterrupted_one(tiny_diffusion: Path, tmp_path: Path, at: int, more: dict) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    fields = DRAWN | more
    sap.capture(model, prompts=PROMPTS, out=tmp_path / "whole", **fields)
    out = stopped(model, tmp_path / "cut", at, **fields)
    assert sap.open_run(out).state == "cancelled" and sap.open_run(out).trajectory.sizes["step"] == at
    resumed = sap.capture(resume=out)  # the model is loaded anew
    assert resumed.path == out and not (out / CHECKPOINT).exists()
    resumed.verify()
    assert_same(tmp_path / "whole", out)


@pytest.mark.slow
def test_stopped_twice_and_by_an_interrupt(tiny_diffusion: Path, tmp_path: Path) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    sap.capture(model, prompts=PROMPTS, out=tmp_path / "whole", **DRAWN)
    out = stopped(model, tmp_path / "cut", 3, KeyboardInterrupt, **DRAWN)
    with pytest.raises(Cancelled):
        sap.capture(model, resume=out, progress=stop_after(8))
    sap.capture(model, resume=out)
    assert_same(tmp_path / "whole", out)


@pytest.mark.parametrize("sampler", mostly_slow(sorted(set(RUN) - set(FROM_START))))
def test_every_sampler_goes_on_from_each_step(tiny_diffusion: Path, sampler: str) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    canvas = build_canvas(model, list(PROMPTS), 16)
    options = SamplingOptions.build(length=16, steps=9, temperature=0.8)
    sampling = Sampling(
        sampler, 9, 8, threshold=0.3, temperature=0.8, draws="categorical", confidence_temperature=0.5,
        entropy_limit=0.5, edit_threshold=0.05, remasking=0.2,
    )  # fmt: skip
    generator = seeded(options)
    steps, states = [], []
    for step in RUN[sampler](model, canvas, options, sampling, generator):
        steps.append(step)
        states.append(generator.get_state())
    assert len(steps) > 2
    for at in range(len(steps) - 1):
        again = seeded(options)
        again.set_state(states[at])
        state = SamplerState(at + 1, steps[at].next_tokens, steps[at].memory)
        rest = list(RUN[sampler](model, canvas, options, sampling, again, state=state))
        assert [step.index for step in rest] == [step.index for step in steps[at + 1 :]]
        for expected, found in zip(steps[at + 1 :], rest, strict=True):
            for name in ("tokens", "masked", "accepted", "next_tokens"):
                assert getattr(found, name).equal(getattr(expected, name)), (at, name)
            assert set(found.memory) == remembered(sampler)
            assert np.array_equal(found.confidence, expected.confidence, equal_nan=True)


def killed(model, out: Path, at: int, **fields) -> Path:
    """A capture whose process is killed after step ``at``, with steps on disk behind the last kept place."""
    child = os.fork()
    if child == 0:

        def die(report: Progress) -> None:
            if report.done == at and report.stage == "denoise":
                os._exit(9)

        try:
            sap.capture(model, prompts=PROMPTS, out=out, progress=die, **fields)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    return out


@pytest.mark.slow
def test_a_killed_capture_goes_on(tiny_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sap_core.trajectory.store.FLUSH_SECONDS", 0.0)  # steps lie behind the place that was kept
    monkeypatch.setattr("sap_core.trajectory.store.FLUSH_SHARE", 1e9)
    monkeypatch.setattr("sap_core.capturing.diffusion.KEEP_SECONDS", 1e9)  # after the first step
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    sap.capture(model, prompts=PROMPTS, out=tmp_path / "whole", **DRAWN)
    out = killed(model, tmp_path / "cut", 9, **DRAWN)
    run = sap.open_run(out, unfinished=True)
    assert run.state == "unfinished" and not (out / MANIFEST).exists()
    kept = read_checkpoint(out)
    assert kept is not None and kept.steps < run.trajectory.sizes["step"]
    (out / "trajectory" / "0.zarr" / "token" / "x.partial").write_bytes(b"half")
    sap.capture(model, resume=out)
    sap.open_run(out).verify()
    assert "trajectory/0.zarr/token/x.partial" not in sap.open_run(out).manifest["files"]
    assert_same(tmp_path / "whole", out)


@pytest.mark.slow
def test_killed_before_any_place_was_kept(tiny_diffusion: Path, tmp_path: Path) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    sap.capture(model, prompts=PROMPTS, out=tmp_path / "whole", **DRAWN)
    out = killed(model, tmp_path / "cut", 3, **DRAWN)
    (out / CHECKPOINT).unlink()
    sap.capture(resume=out)
    assert_same(tmp_path / "whole", out)


@pytest.mark.slow
def test_left_to_right_begins_again_in_its_folder(tiny_causal: Path, tmp_path: Path) -> None:
    fields = {"length": 16, "temperature": 0.8, "seed": 2}
    model = sap.load_model(str(tiny_causal), device="cpu")
    sap.capture(model, prompts=PROMPTS, out=tmp_path / "whole", **fields)
    out = stopped(model, tmp_path / "cut", 4, **fields)
    assert sap.open_run(out).trajectory.sizes["step"] == 4
    sap.capture(model, resume=out)
    assert_same(tmp_path / "whole", out)


def test_what_is_refused_and_leaves_the_run_as_it_was(tiny_diffusion: Path, tmp_path: Path) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    out = stopped(model, tmp_path / "cut", 4, **DRAWN)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InvalidInput, match=r"steps is '9', but run .* was begun with '12'"):
        sap.capture(model, resume=out, steps=9)
    with pytest.raises(InvalidInput, match="prompts is"):
        sap.capture(model, "w9", resume=out)
    with pytest.raises(InvalidInput, match="leave `out` out"):
        sap.capture(model, resume=out, out=tmp_path / "other")
    with pytest.raises(InvalidInput, match="the model is elsewhere"):
        sap.capture("elsewhere", resume=out)
    with pytest.raises(RunProblem, match="does not exist"):
        sap.capture(resume=tmp_path / "nowhere")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    sap.capture(model, resume=out, steps=12, seed=5)  # its own settings are no difference
    with pytest.raises(RunProblem, match="is finished; there is nothing to go on with"):
        sap.capture(model, resume=out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept | {"steps": 99},
        lambda kept: kept | {"generator": kept["tokens"]},
        lambda kept: kept | {"tokens": kept["blank"]},
        lambda kept: kept | {"tokens": kept["tokens"] | {"bytes": "////" * 107}},
        lambda kept: kept | {"memory": {}},
        lambda kept: kept | {"code_errors": []},
        lambda kept: kept | {"seconds": "x"},
        lambda kept: [],
    ],
)
def test_a_damaged_place_is_refused(tiny_diffusion: Path, tmp_path: Path, change) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    out = stopped(model, tmp_path / "cut", 4, **DRAWN)
    (out / MANIFEST).unlink()
    (out / CHECKPOINT).write_text(json.dumps(change(json.loads((out / CHECKPOINT).read_text()))))
    with pytest.raises(RunProblem, match="damaged"):
        sap.capture(model, resume=out)
    assert sap.open_run(out, unfinished=True).trajectory.sizes["step"] == 4


@pytest.mark.slow
def test_a_model_that_changed_is_refused(tiny_diffusion: Path, tmp_path: Path) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    out = stopped(model, tmp_path / "cut", 4, **DRAWN)
    kept = json.loads((out / CHECKPOINT).read_text())
    kept["model"]["config.json"] = "0" * 16
    (out / MANIFEST).unlink()
    (out / CHECKPOINT).write_text(json.dumps(kept))
    with pytest.raises(InvalidInput, match="have changed since"):
        sap.capture(model, resume=out)


@pytest.mark.slow
def test_two_at_once_are_refused(tiny_diffusion: Path, tmp_path: Path) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    out = stopped(model, tmp_path / "cut", 4, **DRAWN)

    def meanwhile(report: Progress) -> None:
        if report.done == 6:
            with pytest.raises(RunProblem, match="another process"):
                sap.capture(model, resume=out)

    sap.capture(model, resume=out, progress=meanwhile)


def test_closing_never_hides_what_ended_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TrajectoryWriter(tmp_path / "0.zarr", steps=2, layers=1, heads=1, positions=2)
    monkeypatch.setattr(writer, "flush", lambda: 1 / 0)
    with pytest.raises(KeyError, match="first"), writer:
        raise KeyError("first")
    with pytest.raises(ZeroDivisionError), writer:
        pass
