"""Measured plans in one table, and the loss predicted between them."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
from sample_runs import prune_run, sweep_run

from sap_core.specs import PruneSpec
from sap_core.sweeps.predict import curve_of, predict_loss
from sap_core.sweeps.results_table import measured_plans, stamp
from sap_core.sweeps.tradeoff import best_plans

MODEL = "demo:stories-diffusion"


def plans(*points, protocol="a", texts=10**6, **fields):
    """Measured at (sparsity, loss, standard error)."""
    spec = {"model": "m", "method": "wanda", **fields}
    rows = [
        {"sparsity": share, "loss": loss, "error": error, "texts": texts, "protocol": protocol}
        | {"spec": PruneSpec.build(**spec, sparsity=share).model_dump(mode="json")}
        for share, loss, error in points
    ]
    return pd.DataFrame(rows, columns=["sparsity", "loss", "error", "texts", "protocol", "spec"])


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


def test_a_measured_sparsity_is_its_mean_over_seeds_weighted_by_their_variance():
    found = predict_loss(plans((0.5, 0.2, 0.01), (0.5, 0.4, 0.03)), asked(0.5))
    assert found.measured and found.points == 1 and found.loss == pytest.approx((0.2 * 9 + 0.4) / 10)
    spread = 12.706 * math.sqrt((0.9 * 0.02**2 + 0.1 * 0.18**2) / 1)  # t(1), between the two
    assert found.high - found.loss == pytest.approx(math.hypot(1.96 * 0.012, spread), rel=1e-3)
    one = predict_loss(plans((0.5, 0.2, 0.01), texts=8), asked(0.5))
    assert one.high == pytest.approx(0.2 + 2.3646 * 0.01, rel=1e-4)  # t(7)


def test_a_quick_look_never_widens_what_a_sweep_knew_nor_moves_it():
    sweep = plans((0.3, 0.1, 0.01), (0.5, 0.2, 0.01), (0.7, 0.6, 0.01), protocol="sweep")
    quick = plans((0.5, 0.5, 0.1), protocol="quick", texts=8)
    both = pd.concat([quick, sweep], ignore_index=True)
    for share in (0.3, 0.4, 0.5, 0.6):
        assert predict_loss(both, asked(share)) == predict_loss(sweep, asked(share))
    better = pd.concat([plans((0.6, 0.37, 0.001), protocol="careful"), sweep], ignore_index=True)
    assert predict_loss(better, asked(0.6)).loss == pytest.approx(0.37)
    assert curve_of(better, asked(0.6)).protocol == "careful" and curve_of(better, asked(0.5)).protocol == "sweep"


def test_what_one_text_measured_has_no_interval_and_takes_no_part():
    alone = plans((0.5, 0.2, float("nan")), texts=1)
    assert predict_loss(alone, asked(0.5)) is None


def test_plans_calibrated_on_other_texts_are_of_another_kind():
    measured = plans((0.5, 0.2, 0.01), calibration="own.txt")
    assert predict_loss(measured, asked(0.5)) is None
    assert predict_loss(measured, asked(0.5, calibration="own.txt", samples=16)) is not None
    magnitude = plans((0.5, 0.2, 0.01), calibration="own.txt", method="magnitude")  # looks at no texts
    assert predict_loss(magnitude, asked(0.5, method="magnitude")) is not None


def test_between_points_it_lies_below_the_chord_and_above_the_neighbours():
    # (0, 0), (0.4, 0.1), (0.6, 0.3), (0.7, 0.6): at 0.5 the chord gives 0.2; the line from the left continued 0.125,
    # the line from the right 0.
    found = predict_loss(plans((0.4, 0.1, 0), (0.6, 0.3, 0), (0.7, 0.6, 0)), asked(0.5))
    assert (found.low, found.high, found.measured) == (pytest.approx(0.125), pytest.approx(0.2), False)
    assert found.loss == pytest.approx(0.1625)
    wider = predict_loss(plans((0.4, 0.1, 0), (0.6, 0.3, 0.1), (0.7, 0.6, 0)), asked(0.5))
    assert wider.high == pytest.approx(0.2 + 0.196, rel=1e-4)


def test_a_truly_convex_curve_lies_within_the_interval():
    measured = plans(*((s, s**3, 0) for s in (0.2, 0.4, 0.6, 0.8)))
    for share in (0.1, 0.3, 0.5, 0.7):
        found = predict_loss(measured, asked(share))
        assert found.low <= share**3 <= found.high


def test_beyond_the_last_point_there_is_only_a_floor():
    found = predict_loss(plans((0.4, 0.1, 0), (0.6, 0.3, 0)), asked(0.8))
    assert found.loss == pytest.approx(0.5) and math.isinf(found.high)
