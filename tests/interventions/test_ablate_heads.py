"""Heads left out: against zeroed weights, and a planted model in which one head decides."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from tiny_models import save_tiny_llama

from sap_core.errors import Cancelled, InvalidInput
from sap_core.evaluation.generation import generate
from sap_core.evaluation.likelihood import scored_passes, text_likelihood
from sap_core.evaluation.texts import evaluation_texts
from sap_core.interventions.head_losses import HeadLosses
from sap_core.interventions.heads import ablate_heads
from sap_core.models.loading import load_model
from sap_core.pruning.api import plan_pruning, prune
from sap_core.pruning.scoring.head_ranking import zero_heads
from sap_core.sinks.rank_agreement import rank_agreement
from sap_core.texts.source import TextSource

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny_families import made

PLANTED = (1, 2)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    """A tiny model whose heads give next to nothing, but for one."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("planted"), causal=False, seed=3)
    model = load_model(str(folder))
    for layer in range(3):
        weight = model.output_projection(layer).weight.data
        width = model.info.head_dim
        for head in range(4):
            weight[:, head * width : (head + 1) * width] *= 30.0 if (layer, head) == PLANTED else 0.01
    model.save(folder / "planted")
    model.tokenizer.save_pretrained(folder / "planted")
    written = generate(model, [f"w{3 * i} w{5 * i + 1} w{7 * i + 2} w{i}" for i in range(8)], length=24)
    np.save(folder / "planted" / "texts.npy", written.tokens.numpy())  # on these the head that decides is right
    return folder / "planted"


@pytest.fixture(scope="module")
def fast(planted):
    return {
        "text": str(planted / "texts.npy"),
        "samples": 8,
        "draws": 2,
        "scores": ("wanda", "value_norm"),
        "greedy": 2,
    }


@pytest.fixture(scope="module")
def measured(planted, fast, tmp_path_factory):
    return ablate_heads(str(planted), out=tmp_path_factory.mktemp("runs") / "heads", **fast)


@pytest.mark.parametrize("family", ["dream", "a2d-blocks", "bert", "causal-llama", "causal-gpt2"])
def test_the_loss_without_heads_is_that_of_zeroed_weights(tmp_path, family):
    model = load_model(str(made(family, tmp_path)))
    rows = evaluation_texts(model, None, samples=2, seed=0).rows
    some, *_ = scored_passes(model, rows, draws=2, seed=0)  # rows of one length each
    losses = HeadLosses(model)
    before = losses.begin(some)
    assert losses.skips
    for heads in ([(0, 1)], [(1, 0)], [(1, 1), (0, 3)]):
        zeroed = model.clone()
        zero_heads(zeroed, heads)
        expected = some.losses(zeroed.logits(some.inputs), None)[0]
        np.testing.assert_allclose(losses.without(heads), expected, rtol=1e-6)
        assert (losses.without(heads) != before).all()
    np.testing.assert_array_equal(losses.without([]), before)


def test_the_planted_head_is_ranked_first(measured):
    heads = measured.result["heads"]
    worst = max(heads, key=lambda one: one["damage"]["nats_per_token"])
    assert (worst["layer"], worst["head"]) == PLANTED and worst["damage"]["low"] > 0
    assert len(heads) == 12 and len(worst["levels"]) == 2
    assert {(one["layer"], one["head"]) for one in measured.result["greedy"]}.isdisjoint({PLANTED})
    curves = {one["ranking"]: one["points"] for one in measured.result["curves"]}
    assert set(curves) >= {"measured", "greedy", "random", "instability", "wanda", "value_norm"}
    last = {name: points[-1]["difference"]["nats_per_token"] for name, points in curves.items()}
    assert last["measured"] < last["random"]
    assert {"instability", "persistence", "wanda", "value_norm"} <= {
        one["score"] for one in measured.result["agreement"]
    }


def test_damage_is_the_paired_difference_of_the_loss(measured, planted, fast):
    model = load_model(str(planted))
    rows = evaluation_texts(model, TextSource(fast["text"]), samples=8, seed=0).rows
    zeroed = model.clone()
    zero_heads(zeroed, [PLANTED])
    extra = counted = 0.0
    for place, half in enumerate((rows[::2], rows[1::2])):
        with_it, without = (text_likelihood(m, half, draws=2, seed=place) for m in (model, zeroed))
        extra, counted = extra + (without.nats - with_it.nats).sum(), counted + with_it.counted.sum()
    one = next(one for one in measured.result["heads"] if (one["layer"], one["head"]) == PLANTED)
    assert one["damage"]["nats_per_token"] == pytest.approx(extra / counted, rel=1e-6)


def test_a_stopped_measurement_goes_on_and_is_the_same(measured, planted, fast, tmp_path):
    def stop(progress):
        if progress.stage == "curve":
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        ablate_heads(str(planted), out=tmp_path / "part", progress=stop, **fast)
    again = ablate_heads(str(planted), out=tmp_path / "part", **fast)
    assert json.dumps(again.result, sort_keys=True) == json.dumps(measured.result, sort_keys=True)


def test_prune_follows_the_measured_ranking(measured, planted):
    with pytest.raises(InvalidInput, match="measured"):
        plan_pruning(str(planted), method="measured", sparsity=0.25)
    plan = plan_pruning(str(planted), method="measured", sparsity=0.25, run=str(measured.path), duplicates="ignore")
    order = sorted(measured.result["heads"], key=lambda one: one["damage"]["nats_per_token"])
    assert set(plan.heads) == {(one["layer"], one["head"]) for one in order[:3]}
    whole = prune(str(planted), method="measured", pattern="heads", sparsity=0.5, run=str(measured.path),
                  duplicates="ignore")  # fmt: skip
    kept = set(range(2)) - set(whole.report["removed"]["per_layer"][PLANTED[0]])
    assert kept == {PLANTED[1] // 2}


def test_rank_agreement_is_that_of_scipy():
    random = np.random.default_rng(0)
    score, extra = random.integers(0, 5, 20).astype(float), random.normal(size=(20, 8))
    found = rank_agreement(score, extra, np.ones(8))
    damage = extra.sum(1)
    assert found.spearman == pytest.approx(spearmanr(score, damage).statistic)
    assert found.kendall == pytest.approx(kendalltau(score, damage).statistic)
    sure = rank_agreement(np.arange(20.0), np.arange(20.0)[:, None] + random.normal(size=(20, 50)) * 0.01, np.ones(50))
    assert sure.spearman_low > 0.99 and sure.kendall_high <= 1
    assert torch.tensor(rank_agreement(np.ones(20), extra, np.ones(8)).spearman).isnan()


@pytest.mark.parametrize(
    ("fields", "told"), [({"scores": ("wander",)}, "wander"), ({"greedy": 40}, "greedy"), ({"samples": 1}, "samples")]
)
def test_what_can_not_be_measured_is_refused(planted, fast, tmp_path, fields, told):
    with pytest.raises(InvalidInput, match=told):
        ablate_heads(str(planted), out=tmp_path / "run", **fast | fields)
    assert not (tmp_path / "run").exists()
