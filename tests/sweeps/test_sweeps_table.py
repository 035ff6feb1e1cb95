"""The table of a sweep at any moment, its summary, and the trade-off."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from fake_sweep_runner import record

from sap_core.errors import InvalidInput, RunProblem
from sap_core.models.fingerprint import model_files
from sap_core.specs import SweepSpec
from sap_core.sweeps import (
    frontier,
    paired_difference,
    summarise,
    sweep_table,
)
from sap_core.sweeps.folder import SweepFolder
from sap_core.sweeps.grid import make_grid
from sap_core.sweeps.table import write_table

SPEC = SweepSpec.build(model="m", methods=("magnitude", "sink"), sparsities=(0.5,), seeds=(0, 1))


@pytest.fixture
def folder(tmp_path):
    """A claimed sweep of three prunings with two cells finished and one failed."""
    grid = make_grid(SPEC)
    made = SweepFolder(tmp_path / "sweep")
    with made.claim(SPEC, grid, {}):
        for cell, nats in zip(grid.cells[:3], [(8.0, 12.0), (9.0, 12.0), (8.0, 16.0)], strict=True):
            made.finish(cell.id, record(cell.id, cell.spec and cell.spec.model_dump(mode="json"), nats))
        made.fail(grid.cells[3].id, "out of luck")
        yield made


def test_one_row_per_cell_with_paired_differences(folder):
    table = sweep_table(folder.path)
    assert table["state"].tolist() == ["finished"] * 3 + ["failed"]
    assert table["id"].tolist()[0] == "dense" and table["error"].iloc[3] == "out of luck"
    assert table["nats_per_token"].tolist()[:3] == [20 / 8, 21 / 8, 24 / 8] and math.isnan(table["nats_per_token"][3])
    assert table["difference"].tolist()[:3] == [0, 1 / 8, 4 / 8]
    # Differences text by text: (1, 0) nats of 4 tokens each: mean 1/8, residuals +-1/2, so SE = 0.5 / 4.
    assert table["difference_error"].tolist()[:2] == [0, pytest.approx(math.sqrt(0.5 / 2) / 4)]
    assert table["nonzero_parameters"].tolist()[:2] == [100, 75]


def test_written_table_reads_back_equal_in_both_formats(folder):
    table = write_table(folder.path)
    for found in (pd.read_csv(folder.path / "table.csv"), pd.read_parquet(folder.path / "table.parquet")):
        assert list(found.columns) == list(table.columns) and found["id"].tolist() == table["id"].tolist()
        np.testing.assert_allclose(found["difference"].to_numpy(float), table["difference"].to_numpy(float))


def test_tasks_become_columns(folder):
    cell = "sink-unstructured-0.5-s1"
    tasks = {"story": {"score": 0.5}, "infilling": {"story": {"score": 0.75}}}
    spec = {"method": "sink", "pattern": "unstructured", "sparsity": 0.5, "seed": 1}
    folder.finish(cell, record(cell, spec, tasks=tasks, speedup=1.5))
    row = sweep_table(folder.path).set_index("id").loc[cell]
    assert (row["task_story"], row["task_story_infilled"], row["speedup"]) == (0.5, 0.75, 1.5)
    assert row["state"] == "finished" and row["error"] is None  # a later success clears the failure


def test_a_finished_cell_is_never_written_again(folder):
    before = (folder.path / "cells" / "dense.json").read_bytes()
    folder.finish("dense", record("dense", None, (1.0, 1.0)))
    assert (folder.path / "cells" / "dense.json").read_bytes() == before


def test_no_sweep_there_is_an_error(tmp_path):
    with pytest.raises(RunProblem, match="holds no sweep"):
        sweep_table(tmp_path)


def test_summary_joins_the_spread_of_seeds_and_of_texts():
    rows = [
        {"id": str(i), "state": "finished", "method": "sink", "pattern": "unstructured", "sparsity": 0.5, "seed": i,
         "found_sparsity": 0.5, "difference": value, "difference_error": 0.1, "texts": 9}
        for i, value in enumerate((1.0, 2.0, 3.0))
    ]  # fmt: skip
    rows.append(rows[0] | {"method": "magnitude", "difference": 4.0})
    rows.append(rows[0] | {"method": "wanda", "state": "failed", "difference": None})
    found = summarise(pd.DataFrame(rows)).set_index("method")
    assert found.index.tolist() == ["sink", "magnitude"] and found["seeds"].tolist() == [3, 1]
    texts = 0.1 * 2.306004  # Student's t with 8 degrees of freedom
    half = math.hypot(4.302653 / math.sqrt(3), texts)  # with 2; spread 1: the seeds differ far more than the texts
    assert found.loc["sink", "high"] == pytest.approx(2 + half, rel=1e-6)
    assert found.loc["magnitude", "low"] == pytest.approx(4 - texts)


def test_one_text_or_one_seed_without_texts_gives_no_interval():
    row = {"id": "a", "state": "finished", "method": "sink", "sparsity": 0.5, "seed": 0, "difference": 1.0, "texts": 1}
    found = summarise(pd.DataFrame([row | {"difference_error": math.nan, "task_question": 0.9}]))
    assert found["mean"].item() == 1.0 and found[["low", "high"]].isna().all(axis=None)
    table = pd.DataFrame([row | {"difference_error": 0.1, "seed": i, "task_question": 1.0 - i / 10} for i in range(3)])
    assert summarise(table[:1], "task_question", None)[["low", "high"]].isna().all(axis=None)
    assert summarise(table, "task_question", None)["high"].item() == 1.0


def test_any_two_cells_are_compared_in_pairs(folder):
    a, b = (folder.record(cell) for cell in ("sink-unstructured-0.5-s0", "magnitude-unstructured-0.5-s0"))
    found = paired_difference(a, b)
    assert (found.value, found.error) == (3 / 8, pytest.approx(math.sqrt(2 * 2.5**2 / 2) / 4))
    assert found.high - found.value == pytest.approx(12.706205 * found.error)  # 1 degree of freedom


def test_frontier_keeps_what_nothing_beats():
    costs, losses = [1, 2, 2, 3, 4, 4, 5, 0], [9, 5, 6, 5, 1, 1, None, 10]
    table = pd.DataFrame({"id": list("abcdefgh"), "nonzero_parameters": costs, "nats_per_token": losses})
    assert frontier(table)["id"].tolist() == ["h", "a", "b", "e", "f"]


class TestClaim:
    def test_refuses_another_sweep_and_says_what_differs(self, folder):
        other = SPEC.model_copy(update={"sparsities": (0.7,)})
        with pytest.raises(InvalidInput, match=r"sparsities \[0.5\] there, \(?\[?0.7"):
            folder.check(other, {})

    def test_refuses_what_is_no_sweep(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("x")
        with pytest.raises(InvalidInput, match="something else"):
            SweepFolder(tmp_path).check(SPEC, {})

    def test_refuses_a_second_driver(self, folder):
        second = SweepFolder(folder.path).claim(SPEC, make_grid(SPEC), {})
        with pytest.raises(InvalidInput, match="another process"):
            second.__enter__()

    def test_refuses_other_weights(self, tmp_path, tiny_diffusion, tiny_causal):
        made = SweepFolder(tmp_path / "s")
        with made.claim(SPEC, make_grid(SPEC), model_files(str(tiny_diffusion))):
            pass
        made.check(SPEC, model_files(str(tiny_diffusion)))
        with pytest.raises(InvalidInput, match="other weights"):
            made.check(SPEC, model_files(str(tiny_causal)))
