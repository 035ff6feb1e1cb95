"""A sweep on a real Ray cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from sap_core import capture_each
from sap_core.sweeps import sweep
from sap_core.sweeps.ray_actors import RayExecutor

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'sap-studio[ray]'")
pytestmark = pytest.mark.extras
HERE = Path(__file__).parent
FIELDS = {"methods": ("magnitude", "sink"), "sparsities": (0.1, 0.2, 0.3), "seeds": (0, 1, 2)}  # 12 and the dense one


class FakeOnRay(RayExecutor):
    """The Ray executor with a runner that needs no model."""

    options: dict = {}  # noqa: RUF012

    def run(self, tasks, runner, options):
        return super().run(tasks, "fake_sweep_runner:Runner", self.options)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each; the driver runs on neither's CPU."""
    from ray.cluster_utils import Cluster

    paths = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        made.second = made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        if paths is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = paths


def test_a_killed_node_loses_no_finished_cell_and_none_is_done_twice(cluster, tmp_path, tiny_diffusion):
    workers = FakeOnRay(address=cluster.address)
    workers.options = {
        "log": str(tmp_path / "log"),
        "seconds": 1.5,
    }  # longer in all than the second actor takes to start
    assert workers.workers == 2
    seen, done_before = [], []

    def follow(progress):
        seen.append(progress)
        both_busy = len(progress.data["running"]) == 2
        if progress.done >= 4 and both_busy and not done_before:
            done_before.extend(path.stem for path in (tmp_path / "out" / "cells").glob("[!.]*.json"))
            cluster.remove_node(cluster.second, allow_graceful=False)

    done = sweep(model=str(tiny_diffusion), out=tmp_path / "out", executor=workers, progress=follow, **FIELDS)
    assert done.complete and done.failed == {} and len(done.ran) == len(set(done.ran)) == 13
    begun = Counter((tmp_path / "log").read_text().split())
    assert set(begun) == set(done.ran) and len(done_before) >= 4
    assert all(begun[cell] == 1 for cell in done_before)  # what was finished is not begun again
    assert sorted(begun.values())[-2:] == [1, 2]  # one cell was lost with the node, and done again
    assert any("again: a Ray actor was lost" in progress.message for progress in seen)
    again = sweep(model=str(tiny_diffusion), out=tmp_path / "out", executor=workers, **FIELDS)
    assert again.complete and again.ran == ()


def test_prompts_are_captured_on_the_cluster(cluster, tmp_path, tiny_diffusion):
    """With what is left of the cluster; the runs are gone on with by processes of this machine."""
    asked = {"out": tmp_path / "runs", "length": 12, "steps": 2, "device": "cpu"}
    runs = capture_each(str(tiny_diffusion), ("w1 w2", "w3"), executor="ray", address=cluster.address, **asked)
    assert [run.state for run in runs] == ["finished", "finished"] and runs[1].spec["prompts"] == ["w3"]
    times = [(run.path / "manifest.json").stat().st_mtime_ns for run in runs]
    again = capture_each(str(tiny_diffusion), ("w1 w2", "w3"), executor="local", **asked)
    assert [(run.path / "manifest.json").stat().st_mtime_ns for run in again] == times
