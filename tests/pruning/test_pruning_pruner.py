"""`SinkAwarePruner`: keeps both promises or says what comes nearest. Speed is counted here, not timed."""

from __future__ import annotations

import numpy as np
import pytest

from sap_core.errors import InvalidInput, OperationFailed
from sap_core.evaluation.texts import evaluation_texts
from sap_core.models.loading import load_model
from sap_core.pruning.pruner import SinkAwarePruner
from sap_core.pruning.strategies import shape_search as module
from sap_core.pruning.strategies.report import Pruned
from sap_core.pruning.strategies.shape_search import NoSuchPlan
from sap_core.specs import build_prune_spec


@pytest.fixture
def pruner(tiny_diffusion, monkeypatch):
    """Speed as weights in the blocks, dense to small; loss as the share of them that is gone; instability as the
    head's number."""
    import pandas as pd

    model = load_model(str(tiny_diffusion))

    def counted(models):
        weights = [sum(m.rows * m.cols for m in one.info.matrices) for one in models]
        seconds = [count / 1000 for count in weights]
        return [{"tokens_per_second": 1 / each, "seconds": each, "turns": [each]} for each in seconds]

    rows = [(layer, head, head / 10) for layer in range(3) for head in range(4)]
    table = pd.DataFrame(rows, columns=["layer", "head", "instability"])
    monkeypatch.setattr(module, "generation_speed", counted)
    monkeypatch.setattr(
        module.ShapeSearch,
        "drop",
        lambda self, small: 1 - counted([small])[0]["seconds"] / counted([self.model])[0]["seconds"],
    )
    monkeypatch.setattr("sap_core.pruning.scoring.head_ranking.ranking", lambda *_: table)
    monkeypatch.setattr("sap_core.pruning.scoring.head_ranking.duplicates", lambda *_: [])
    ids = np.random.default_rng(0).integers(3, 96, (2, 24))
    return SinkAwarePruner(model, ids, samples=2)


def test_the_result_keeps_both_promises_and_lists_what_was_tried(pruner):
    dense = pruner.model.info
    pruned = pruner.prune(target_speedup=1.3, quality_drop_threshold=0.5)
    assert isinstance(pruned, Pruned)
    weights = [sum(m.rows * m.cols for m in info.matrices) for info in (dense, pruned.model.info)]
    search = pruned.report["search"]
    assert weights[0] / weights[1] == pytest.approx(search["chosen"]["speedup"]) and search["chosen"]["speedup"] >= 1.3
    fast_enough = [one for one in search["tried"] if one["speedup"] >= 1.3]
    assert search["chosen"]["drop"] == min(one["drop"] for one in fast_enough)
    assert {tuple(unit for unit in ("heads", "channels", "layers") if one[unit]) for one in search["tried"]} == {
        ("heads",), ("channels",), ("layers",), ("heads", "channels")
    }  # fmt: skip
    assert dense.layers == 3 and pruner.model.info is dense


@pytest.mark.slow
def test_what_can_not_be_met_names_the_nearest_on_either_side(pruner):
    with pytest.raises(NoSuchPlan, match="Ask for less speed or allow more loss") as caught:
        pruner.prune(target_speedup=1.3, quality_drop_threshold=0.2)
    error = caught.value
    assert isinstance(error, OperationFailed) and "\n" not in str(error)
    assert error.fast.speedup >= 1.3 and error.fast.drop > 0.2
    assert error.good.speedup < 1.3 and error.good.drop <= 0.2
    with pytest.raises(NoSuchPlan) as caught:
        pruner.prune(target_speedup=1.6, quality_drop_threshold=0.1, method="flap")
    assert caught.value.good.channels == 0.125  # weaker than the two nearest to the speed: looked for
    with pytest.raises(NoSuchPlan) as caught:
        pruner.prune(target_speedup=1000, quality_drop_threshold=10)
    assert caught.value.fast is None and caught.value.good.speedup > 1


def test_bad_wishes_and_data_are_refused(pruner, tiny_diffusion):
    with pytest.raises(InvalidInput, match="more than 1"):
        pruner.prune(target_speedup=1.0)
    with pytest.raises(InvalidInput, match="expected a share"):
        pruner.prune(quality_drop_threshold=-0.1)
    with pytest.raises(InvalidInput, match="known: quality, balanced, speed, memory"):
        pruner.prune(preset="fast")
    with pytest.raises(InvalidInput, match="leave out sparsity"):
        build_prune_spec(model="m", method="sink", preset="speed", sparsity=0.7)
    with pytest.raises(InvalidInput, match="needs a method of magnitude"):
        pruner.prune(preset="speed", method="sparsegpt")
    with pytest.raises(InvalidInput, match="ids 3 to 96"):
        SinkAwarePruner(str(tiny_diffusion), np.array([[3, 96]]))


def test_a_model_loses_nothing_against_itself(tiny_diffusion):
    model = load_model(str(tiny_diffusion))
    texts = evaluation_texts(model, None, samples=2, seed=0)
    assert module.ShapeSearch(model, "sink", {"samples": 2}, texts).drop(model.clone()) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "quality"), [("quality", 4.0), ("balanced", 1.0), ("speed", 0.5), ("memory", 0.5)])
def test_a_preset_is_the_best_point_of_the_measured_curve_at_its_exchange_rate(pruner, preset, quality):
    """Here loss rises by the share of weights that go and time falls by it, so only the exchange rate decides."""
    pruned = pruner.prune(preset=preset)
    search = pruned.report["search"]
    assert search["rule"]["preset"] == preset and len(search["tried"]) > 8

    def cost(one):
        return (1 + one["drop"]) ** quality * (one["bytes"] if preset == "memory" else 1 / one["speedup"])

    assert cost(search["chosen"]) == min(map(cost, search["tried"]))
    share = search["chosen"]["drop"]
    assert share == min(one["drop"] for one in search["tried"]) if preset == "quality" else share > 0.5
    weights = [sum(m.rows * m.cols for m in info.matrices) for info in (pruner.model.info, pruned.model.info)]
    assert abs(pruned.plan.totals()["zeros"] - (weights[0] - weights[1])) < 10  # whole layers: the mean, rounded


@pytest.mark.slow
def test_what_was_found_is_made_again_from_its_plan_without_searching(pruner, monkeypatch):
    from sap_core.pruning.api import prune
    from sap_core.pruning.planning.plan import PruningPlan

    pruned = pruner.prune(preset="speed")
    plan = PruningPlan.from_dict(pruned.plan.to_dict())
    monkeypatch.setattr(module, "generation_speed", None)
    again = prune(pruner.model, spec=pruned.spec, plan=plan, texts=pruner._texts)
    assert again.report["weights_sha256"] == pruned.report["weights_sha256"] and again.plan == plan


def test_evaluate_sets_it_beside_the_dense_model(pruner):
    found = pruner.evaluate(pruner.model.clone(), ["w1 w2 w3 w4", "w5 w6"], samples=2, draws=2, tasks=False)
    assert found["difference"]["nats_per_token"] == 0 and found["baseline"]["model"] == pruner.model.info.ref
