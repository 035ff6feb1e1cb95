"""Killed, cancelled, failed: a sweep goes on where it was and never does a finished cell again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sap_core.errors import Cancelled, InvalidInput, OperationFailed
from sap_core.sweeps import local, sweep, sweep_table
from sap_core.sweeps.local import LocalExecutor

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FIELDS = {"methods": ("magnitude", "sink"), "sparsities": (0.1, 0.2, 0.3), "seeds": (0, 1)}  # 9 cells and the dense one


class Fake(LocalExecutor):
    """The local executor with a runner that needs no model."""

    def __init__(self, workers: int = 2, **options) -> None:
        super().__init__(workers)
        self.options = options

    def run(self, tasks, runner, options):
        return super().run(tasks, "fake_sweep_runner:Runner", self.options)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Workers find the runner that stands in, and this package."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))


@pytest.fixture
def run(tmp_path, tiny_diffusion):
    """Runs the sweep in tmp_path/out with a faked runner."""

    def call(progress=lambda _: None, fields=FIELDS, workers=2, **options):
        workers = Fake(workers, log=str(tmp_path / "log"), **options)
        return sweep(model=str(tiny_diffusion), out=tmp_path / "out", executor=workers, progress=progress, **fields)

    return call


def begun(tmp_path) -> list[str]:
    return (tmp_path / "log").read_text().split()


def test_all_cells_are_done_once_and_a_finished_sweep_does_nothing(run, tmp_path):
    done = run()
    assert done.complete and len(done.ran) == 10 and sorted(begun(tmp_path)) == sorted(done.ran)
    assert (tmp_path / "out" / "manifest.json").exists() and not list((tmp_path / "out").glob("*lock*"))
    again = run()
    assert again.complete and again.ran == () and len(begun(tmp_path)) == 10


def test_killed_again_and_again_it_ends_with_every_cell_done_and_none_done_again(tmp_path, tiny_diffusion):
    cells = tmp_path / "out" / "cells"
    script = (
        "import sys; from test_sweeps_resume import Fake, FIELDS; from sap_core.sweeps import sweep\n"
        "log, out, model = sys.argv[1:]\n"
        "sweep(model=model, out=out, executor=Fake(log=log, seconds=0.3), **FIELDS)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "log"), str(tmp_path / "out"), str(tiny_diffusion)]
    kept: dict[str, int] = {}
    for goal in (2, 5, 8):
        driver = subprocess.Popen(command)
        workers = []
        while len(list(cells.glob("[!.]*.json"))) < goal or len(workers) < 2:  # the second may start late
            assert driver.poll() is None
            time.sleep(0.02)
            workers = psutil.Process(driver.pid).children()
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        assert len(workers) == 2 and not psutil.wait_procs(workers, timeout=30)[1]  # none outlives its driver
        now = {path.name: path.stat().st_mtime_ns for path in cells.glob("[!.]*.json")}
        assert {name: now[name] for name in kept} == kept
        kept = now
        assert set(sweep_table(tmp_path / "out")["state"]) == {"finished", "waiting"}
    before = begun(tmp_path)
    assert subprocess.run(command).returncode == 0
    assert (sweep_table(tmp_path / "out")["state"] == "finished").all()
    assert not {path.removesuffix(".json") for path in kept} & set(begun(tmp_path)[len(before) :])


def test_cancelled_it_keeps_what_is_finished(run, tmp_path):
    def stop(progress):
        if progress.done == 4:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        run(progress=stop)
    table = sweep_table(tmp_path / "out")
    assert (table["state"] == "finished").sum() == 4 and (tmp_path / "out" / "table.parquet").exists()
    assert not {"manifest.json", "writer.json"} & {path.name for path in (tmp_path / "out").iterdir()}
    assert len(run().ran) == 6


def test_a_lost_worker_is_replaced_and_its_cell_tried_again(run, tmp_path):
    seen = []
    done = run(progress=lambda p: seen.append(p.message), kills={"sink-unstructured-0.2-s0": "once"})
    assert done.complete and begun(tmp_path).count("sink-unstructured-0.2-s0") == 2
    assert any("SIGKILL" in message for message in seen)


def test_a_cell_that_always_kills_its_worker_fails_alone_and_is_tried_again_later(run, tmp_path):
    bad = "sink-unstructured-0.2-s0"
    done = run(kills={bad: "always"})
    assert list(done.failed) == [bad] and "given up after 3" in done.failed[bad] and not done.complete
    assert done.table.set_index("id").loc[bad, "state"] == "failed" and len(done.ran) == 9
    assert run().ran == (bad,) and sweep_table(tmp_path / "out")["error"].isna().all()


def test_an_error_in_a_cell_is_one_line_and_stops_nothing(run):
    done = run(raises=["dense"])
    assert done.failed == {"dense": "ValueError: this one can't be"} and len(done.ran) == 9
    assert done.table["difference"].isna().all() and done.table["nats_per_token"].notna().sum() == 9


def test_a_model_that_does_not_load_stops_the_sweep(run):
    with pytest.raises(OperationFailed, match="no such model"):
        run(unusable=True)


def test_another_sweep_is_refused_with_nothing_changed(run, tmp_path):
    run()
    with pytest.raises(InvalidInput, match="another sweep"):
        run(fields=FIELDS | {"seeds": (0,)})
    assert run().complete


def test_what_can_not_be_writes_nothing(tmp_path, tiny_diffusion):
    for wrong in ({"patterns": ("3:7",)}, {"calibration": "nowhere.txt"}, {"text": "nowhere.txt"}):
        with pytest.raises(InvalidInput):
            sweep(model=str(tiny_diffusion), out=tmp_path / "out", **FIELDS | wrong)
    with pytest.raises(InvalidInput, match="Unknown executor 'slurm'; known: local, ray"):
        sweep(model=str(tiny_diffusion), out=tmp_path / "out", executor="slurm", **FIELDS)
    assert not (tmp_path / "out").exists()


def test_progress_says_what_runs(run):
    seen = []
    run(progress=seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen) and seen[-1].done == seen[-1].total == 10
    running = [p.data["running"] for p in seen]
    assert max(map(len, running)) == 2 and running[-1] == {}
    assert {"stage": "prune", "done": 1, "total": 2} in [state for one in running for state in one.values()]


def test_each_worker_sees_its_own_gpu(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "_cores", lambda: 8)
    workers = LocalExecutor(3, gpus=("0", "1"))
    assert [workers._environment(i)["CUDA_VISIBLE_DEVICES"] for i in range(3)] == ["0", "1", "0"]
    assert workers._environment(0)["OMP_NUM_THREADS"] == "2"
