"""Measured plans in one table, and the loss predicted between them."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
from sample_runs import prune_run, sweep_run

from sap_core.specs import PruneSpec
from sap_core.sweeps.predict import predict_loss
from sap_core.sweeps.results_table import measured_plans, stamp
from sap_core.sweeps.tradeoff import best_plans

MODEL = "demo:stories-diffusion"


def plans(*points, **fields):
    """Measured at (sparsity, loss, standard error)."""
    spec = {"model": "m", "method": "wanda", **fields}
    rows = [
        {"sparsity": share, "loss": loss, "error": error, "spec": PruneSpec.build(**spec, sparsity=share).model_dump()}
        for share, loss, error in points
    ]
    return pd.DataFrame(rows, columns=["sparsity", "loss", "error", "spec"])


def asked(sparsity, **fields):
    return PruneSpec.build(model="m", method=fields.pop("method", "wanda"), sparsity=sparsity, **fields)


def test_applied_plans_and_cells_of_sweeps_are_in_one_table(tmp_path):
    applied = prune_run(tmp_path, sparsity=0.4)
    sweep = sweep_run(tmp_path, {"sink": (0.3, 0.5), "magnitude": (0.5,)}, waiting=("sink-0.5",))
    prune_run(tmp_path, model="another")
    found = measured_plans(MODEL, tmp_path).set_index("id")
    assert set(found.index) == {applied.name, *(f"{sweep.name}/{cell}" for cell in ("sink-0.3", "magnitude-0.5"))}
    cell = found.loc[f"{sweep.name}/sink-0.3"]
    assert (cell["method"], cell["size"], cell["memory"], cell["speedup"]) == ("sink", 0.7, 4000, 1.25)
    assert cell["loss"] == pytest.approx(0.3 * 1.05) and PruneSpec.build(**cell["spec"]).sparsity == 0.3
    assert found.loc[applied.name, "size"] == pytest.approx(1 - 0.096)


def test_the_best_plans_are_better_in_one_of_the_two():
    rows = [("a", 0.3, 1.0, 0.5), ("b", 0.2, 1.5, 0.4), ("c", 0.4, 1.2, 0.9), ("d", 0.9, 2.0, None)]
    table = pd.DataFrame(rows, columns=["id", "loss", "speedup", "task_sort"])
    assert set(best_plans(table, "speedup", True)["id"]) == {"b", "d"}
    assert set(best_plans(table, "speedup", True, "task_sort")["id"]) == {"b", "c"}


def test_the_command_line_shows_the_same_plans(tmp_path, monkeypatch, capsys):
    from sap_core.cli import main

    monkeypatch.setenv("SAP_RUNS", str(tmp_path))
    assert main(["tradeoff", "--model", MODEL]) == 0 and "No measured plan" in capsys.readouterr().out
    sweep_run(tmp_path, {"sink": (0.3, 0.5), "magnitude": (0.5,)})
    assert main(["tradeoff", "--model", MODEL, "--cost", "speed", "--frontier", "--json"]) == 0
    assert [row["cell"] for row in json.loads(capsys.readouterr().out)] == ["sink-0.3"]
    assert main(["tradeoff", "--model", MODEL]) == 0
    shown = capsys.readouterr().out
    assert "sink-0.5" in shown and "+0.315 ±" in shown and "70%" in shown
    assert main(["tradeoff", "--model", MODEL, "--cost", "beauty"]) == 2


def test_the_stamp_changes_with_every_cell(tmp_path):
    sweep = sweep_run(tmp_path, {"sink": (0.3, 0.5)}, waiting=("sink-0.5",))
    before = stamp(MODEL, tmp_path)
    (sweep / "cells" / "sink-0.5.json").write_text("{}")
    assert stamp(MODEL, tmp_path) != before


def test_a_sweep_whose_dense_model_waits_has_no_losses_yet(tmp_path):
    sweep_run(tmp_path, {"sink": (0.3,)}, waiting=("dense",))
    assert measured_plans(MODEL, tmp_path).empty


def test_nothing_of_the_kind_is_no_prediction():
    assert predict_loss(plans(), asked(0.5)) is None
    assert predict_loss(plans((0.5, 0.2, 0.01)), asked(0.5, method="magnitude")) is None
    assert predict_loss(plans((0.5, 0.2, 0.01)), asked(0.5, order="one_shot")) is None


def test_a_measured_sparsity_is_its_mean_over_seeds():
    found = predict_loss(plans((0.5, 0.2, 0.01), (0.5, 0.4, 0.03)), asked(0.5))
    assert found.measured and found.points == 1 and found.loss == pytest.approx(0.3)
    assert found.high == pytest.approx(0.3 + 1.96 * 0.02)


def test_between_points_it_lies_below_the_chord_and_above_the_neighbours():
    # (0, 0), (0.4, 0.1), (0.6, 0.3), (0.7, 0.6): at 0.5 the chord gives 0.2; the line from the left continued 0.125,
    # the line from the right 0.
    found = predict_loss(plans((0.4, 0.1, 0), (0.6, 0.3, 0), (0.7, 0.6, 0)), asked(0.5))
    assert (found.low, found.high, found.measured) == (pytest.approx(0.125), pytest.approx(0.2), False)
    assert found.loss == pytest.approx(0.1625)
    wider = predict_loss(plans((0.4, 0.1, 0), (0.6, 0.3, 0.1), (0.7, 0.6, 0)), asked(0.5))
    assert wider.high == pytest.approx(0.2 + 0.196)


def test_a_truly_convex_curve_lies_within_the_interval():
    measured = plans(*((s, s**3, 0) for s in (0.2, 0.4, 0.6, 0.8)))
    for share in (0.1, 0.3, 0.5, 0.7):
        found = predict_loss(measured, asked(share))
        assert found.low <= share**3 <= found.high


def test_beyond_the_last_point_there_is_only_a_floor():
    found = predict_loss(plans((0.4, 0.1, 0), (0.6, 0.3, 0)), asked(0.8))
    assert found.loss == pytest.approx(0.5) and math.isinf(found.high)
