"""Killed at any moment, a streamed pruning goes on after the last finished block and ends with the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from streamed_models import save_ids, save_sharded

from sap_core.errors import InvalidInput
from sap_core.pruning.streamed.workspace import workspace

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("method", ["sink", "sparsegpt"])
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path, method):
    folder, ids = save_sharded(tmp_path / "model", "llama"), save_ids(tmp_path / "ids.npy")
    paths = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = [sys.executable, str(HERE / "streamed_kills.py"), str(folder), str(tmp_path / "out"), ids, method]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    children = json.loads(done.stdout)
    *killed, last = children
    assert len(killed) >= 7 and all(child["killed"] for child in killed), children
    assert last["status"] == 0, done.stderr
    # Every block of every stage is finished once, except one that was killed between its end and its report.
    finished = [tuple(block) for child in children for block in child["finished"] if block[0] != "export"]
    assert len(finished) == len(set(finished)) and sum(len(child["finished"]) > 0 for child in children) >= 3, children
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {path.name for path in (tmp_path / "out").iterdir()}
    for name in names - {"sap_manifest.json", "README.md"}:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    reports = [json.loads((tmp_path / name / "sap_manifest.json").read_text())["report"] for name in ("out", "whole")]
    assert {**reports[0], "seconds": 0} == {**reports[1], "seconds": 0}
    assert not (tmp_path / ".out.streamed").exists()


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    with workspace(tmp_path / "work", {"a": 1}), pytest.raises(InvalidInput, match="Another process is writing"):
        with workspace(tmp_path / "work", {"a": 1}):
            pass


def test_what_a_finished_pruning_left_is_not_taken_up(tmp_path):
    """Killed between the rename and the tidying up, the folder beside has no weights: nothing in it counts."""
    with workspace(tmp_path / "work", {"a": 1}) as work:
        work.finish("prune", [[1]])
        work.weights.rmdir()
    with workspace(tmp_path / "work", {"b": 2}) as work:
        assert work.done("prune") == [] and work.weights.is_dir()
