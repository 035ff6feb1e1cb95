"""``sap sweep``: lists become a grid, one document on standard output, exit states."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import typer

from sap_core import cli
from sap_core.specs import SweepSpec

HERE = Path(__file__).parent


@pytest.fixture
def sap(tmp_path, monkeypatch, capsys, tiny_diffusion):
    """``sap sweep`` on the tiny model with cells that need no work: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setattr("sap_core.sweeps.api.RUNNER", "fake_sweep_runner:Quiet")

    def call(*words):
        capsys.readouterr()
        status = cli.main(["sweep", "--model", str(tiny_diffusion), *map(str, words)])
        return status, *capsys.readouterr()

    return call


def test_a_sweep_from_lists_and_again(sap, tmp_path):
    words = ["--methods", "magnitude, sink", "--sparsities", "0.3,0.5", "--seeds", "0,1", "--device", "cpu"]
    status, out, err = sap(*words, "--out", "s", "--workers", 2, "--json")
    assert status == 0, err
    document = json.loads(out)
    assert document["complete"] and len(document["ran"]) == 7 and document["out"] == str(tmp_path / "s")
    assert len(pd.read_csv(document["table"])) == len(document["cells"]) == 7
    sink = next(row for row in document["summary"] if row["method"] == "sink" and row["sparsity"] == 0.5)
    assert sink["seeds"] == 2 and sink["mean"] == pytest.approx((5 + 6) / 2 / 8)

    status, out, _ = sap(*words, "--out", "s")
    assert status == 0 and "7 finished; 0 run now." in out and "+0.6875" in out and "Dense: 2.5 nats/token" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--methods", "wanda", "--sparsities", "0.3;0.5"], "--sparsities is '0.3;0.5'; expected numbers with commas"),
        (["--methods", "wanda,"], "expected values with commas"),
        (["--methods", "wand"], "Did you mean 'wanda'"),
        (["--methods", "heads,wanda", "--patterns", "2:4"], "--skip-invalid"),
        (["--methods", "wanda", "--executor", "slurm"], "known: local, ray"),
        (["--methods", "wanda", "--workers", "0"], "at least 1"),
        ([], "either methods"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(sap, tmp_path, words, says):
    status, out, err = sap(*words, "--out", "s")
    assert (status, out) == (2, "") and says in err and err.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_what_was_left_out_is_said(sap):
    status, out, err = sap("--methods", "heads,wanda", "--patterns", "2:4", "--skip-invalid")
    assert status == 0 and "Left out: heads-2of4-0.5-s0: method 'heads' has no pattern 2:4" in out, err


def test_every_field_is_an_option_and_shows_its_default():
    options = {option.name: option for option in typer.main.get_command(cli.app).commands["sweep"].params}
    assert set(SweepSpec.model_fields) - {"kind"} <= set(options)
    for name in ("sparsities", "patterns", "orders", "allocations", "seeds"):
        assert options[name].show_default == ",".join(map(str, SweepSpec.model_fields[name].default)), name
    for name in ("calibration", "samples", "texts", "draws", "tasks", "evaluation_seed"):
        assert options[name].show_default == str(SweepSpec.model_fields[name].default), name
