"""The tables of benchmarks/curves.py on sweeps whose cells are made up, so that every number can be checked by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sap_core.sweeps import sweep
from sap_core.sweeps.tasks import Event

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import best
import curves

# Loss per token of each method at sparsity 1; an allocation adds its own.
WORTH = {"magnitude": 0.9, "wanda": 0.5, "noised_wanda": 0.4, "sink": 0.3}
ADDED = {"ramp": -0.1, "owl": 0.1}


class MadeUp:
    """An executor that measures nothing: text i of every cell costs 10 tokens times (1 + i + worth * sparsity)."""

    def run(self, tasks, runner, options):
        for task in tasks:
            spec = task.payload["spec"]
            worth = 0.0
            if spec:
                worth = (WORTH[spec["method"]] + ADDED.get(spec["allocation"], 0)) * spec["sparsity"] + spec[
                    "seed"
                ] / 1e4
            nats = [10.0 * (1 + i + worth) for i in range(4)]
            tasks_found = {"story": {"score": round(8 * (1 - worth)) / 8, "n": 8}} if options["tasks"] else None
            quality = {"nats": nats, "counted": [10] * 4, "kind": "bound", "tasks": tasks_found, "parameters": 1}
            yield Event(
                "finished", task, {"id": task.id, "spec": spec, "pruning": {}, "quality": quality, "seconds": 0}
            )

    def close(self):
        pass


@pytest.fixture
def args(tmp_path, tiny_diffusion, monkeypatch):
    monkeypatch.setattr(curves, "sweep", lambda workers, **asked: sweep(executor=MadeUp(), **asked))
    asked = ["--model", str(tiny_diffusion), "--methods", ",".join(WORTH), "--out", str(tmp_path / "out")]
    return curves.options().parse_args([*asked, "--sparsities", "0.5", "--patterns", "unstructured,channels"])


def test_the_curves_are_what_was_measured_with_the_controls_difference(args):
    text = curves.curves(args)
    table = pd.read_csv(args.out / "curves.csv")
    assert table.equals(pd.read_parquet(args.out / "curves.parquet")) or len(table) == 8
    row = table[(table["method"] == "sink") & (table["pattern"] == "channels")].iloc[0]
    seeds = np.array([0, 1, 2]) / 1e4
    assert row["seeds"] == 3 and row["mean"] == pytest.approx((0.15 + seeds).mean())
    assert row["control"] == pytest.approx(-0.05) and row["control_low"] <= -0.05 <= row["control_high"] < 0
    # 7 of 8 right for each of three seeds; Wilson's interval of 21 of 24 by hand: (0.875 + z2/48 ± ...) / (1 + z2/24)
    z2 = 1.959964**2
    middle, half = (0.875 + z2 / 48) / (1 + z2 / 24), np.sqrt(0.875 * 0.125 * z2 / 24 + z2**2 / 2304) / (1 + z2 / 24)
    assert row["task_story"] == pytest.approx(0.875)
    assert (row["task_story_low"], row["task_story_high"]) == pytest.approx((middle - half, middle + half), abs=1e-6)
    alone = table[(table["method"] == "magnitude") & (table["pattern"] == "unstructured")].iloc[0]
    assert alone["seeds"] == 1 and alone["control"] == pytest.approx(0.25 - 1e-4)  # one cell against every seed
    assert "| sink | 0.150 ± 0.000 * |" in text and "**channels**" in text and "| 88% (69 to 96) |" in text
    assert (args.out / "curves.md").read_text() == text


def test_the_best_default_is_confirmed_on_other_seeds_against_every_published_score(args):
    text = best.find_best(args, curves.methods_for(args.model, "unstructured", args.methods))
    table = pd.read_csv(args.out / "best.csv")
    assert tuple(table.iloc[0][["method", "allocation"]]) == ("sink", "ramp")
    first = table[(table["method"] == "sink") & (table["allocation"] == "ramp")].set_index("published")
    assert set(first.index) == set(WORTH)
    assert first.loc["wanda", "minus_published"] == pytest.approx((0.2 - 0.5) * 0.5)
    assert first.loc["sink", "minus_published"] == pytest.approx(-0.05) and first.loc["sink", "high"] < 0
    assert first.loc["wanda", "above_dense"] == pytest.approx(0.1 + 2e-4)  # seeds 1, 2, 3
    assert "sink ramp 0.1" in text


def test_heads_are_swept_group_by_group(args):
    args.sparsities = ""
    assert curves.sparsities(args, "unstructured") == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    assert curves.sparsities(args, "heads") == (0.5,) and int(2 * 0.5 + 1e-9) == 1
    assert "flap" in curves.methods_for(args.model, "heads") and "heads" in curves.methods_for(args.model, "heads")
