"""A changed finished run is never read without notice, and `sap runs check` names every damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_runs import capture_run

from sap_core.cli import main
from sap_core.errors import RunProblem
from sap_core.runs.check import check_run
from sap_core.runs.reading import open_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Path(capture_run(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def run(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "runs" / "one"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def read_all(path: Path) -> None:
    for name, variable in open_run(path).trajectory.variables.items():
        assert np.asarray(variable.values).size >= 0, name


def files_of(path: Path) -> list[str]:
    return list(json.loads((path / "manifest.json").read_text())["files"])


DAMAGES = {
    "bit": flip,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "missing": Path.unlink,
}


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES)
def test_every_file_that_is_damaged_is_named(run, how):
    for name in files_of(run):
        target = run / name
        before = target.read_bytes()
        if how == "zeros" and before == bytes(len(before)):
            continue
        DAMAGES[how](target)
        with pytest.raises(RunProblem, match=r"damaged|truncated") as caught:
            read_all(run)
        assert target.name in str(caught.value) and "\n" not in str(caught.value)
        problem, *_ = [found for found in check_run(run).problems if name in found or target.name in found]
        assert "missing" in problem or "bytes" in problem or "changed" in problem or "can't be used" in problem
        target.write_bytes(before)
    read_all(run)
    assert check_run(run).intact


def test_a_chunk_that_changes_after_opening_is_noticed_when_it_is_read(run):
    opened = open_run(run)
    trajectory = opened.trajectory
    (chunk,) = [run / name for name in files_of(run) if "/received/c/" in name][:1]
    flip(chunk)
    with pytest.raises(RunProblem, match="damaged"):
        trajectory["received"].values  # noqa: B018
    trajectory["accepted"].values  # noqa: B018  what is whole can be read


def test_what_the_manifest_does_not_list_is_neither_read_nor_passed(run):
    shutil.copytree(run / "trajectory" / "0.zarr", run / "trajectory" / "1.zarr")
    assert len(open_run(run).trajectories) == 1
    assert any("not in the manifest" in problem for problem in check_run(run).problems)


def test_the_command_checks_one_or_all(run, monkeypatch, capsys):
    shutil.copytree(run, run.parent / "two")
    monkeypatch.setenv("SAP_RUNS", str(run.parent))
    assert main(["runs", "check"]) == 0 and capsys.readouterr().out.count("as written") == 2
    (chunk,) = [run / name for name in files_of(run) if "/received/c/" in name][:1]
    flip(chunk)
    assert main(["runs", "check", "two"]) == 0
    capsys.readouterr()
    assert main(["runs", "check", "--json"]) == 1
    found = {one["id"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["two"]["intact"] and not found["one"]["intact"] and "/received/c/" in found["one"]["problems"][0]
    assert main(["runs", "check", "missing"]) == 2
    capsys.readouterr()
    assert main(["sinks", "one"]) == 2 and capsys.readouterr().err.count("\n") == 1
