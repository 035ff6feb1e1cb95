"""What models write, what they hold in memory, and what is really in their weights."""

from __future__ import annotations

import pytest
import torch

from sap_core.evaluation.comparison import agreement, continuations, variety
from sap_core.evaluation.cost import layer_sparsity
from sap_core.evaluation.memory import peak_memory
from sap_core.evaluation.texts import TextRow
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.texts.wording import speed_cell, speed_words


def test_variety_and_agreement_by_hand():
    found = variety([[1, 2, 1, 2], [1, 2]])
    assert (found["texts"], found["tokens"]) == (2, 6)
    assert found["distinct_1"] == 2 / 6 and found["distinct_2"] == 2 / 4 and found["distinct_3"] == 1.0
    assert variety([[]])["distinct_1"] is None
    same = agreement([[1, 2, 3], [4]], [[1, 9, 3, 5], [4]])
    assert same == {"same_tokens": 3 / 5, "low": 0.0, "high": 1.0, "same_texts": 0.5, "texts": 2}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny_diffusion", "tiny_causal"])
def test_a_model_agrees_with_itself_and_not_with_a_ruin(request, kind):
    import numpy as np

    model = load_model(str(request.getfixturevalue(kind)))
    rows = [TextRow(np.arange(5 + i, 25 + i), np.ones(20, bool), 20) for i in range(2)]
    mine = continuations(model, rows)
    assert agreement(mine, continuations(model, rows))["same_texts"] == 1.0 and max(map(len, mine)) > 8
    ruin = prune(model, method="random", sparsity=0.9).model
    assert agreement(mine, continuations(ruin, rows))["same_tokens"] < 0.5


def test_memory_counts_weights_and_what_a_pass_holds(tiny_diffusion):
    model = load_model(str(tiny_diffusion))
    weights = sum(p.numel() * 4 for p in model.module.parameters())
    logits = 64 * 96 * 4
    assert peak_memory(model) == peak_memory(model) > weights + logits
    small = prune(model, method="magnitude", pattern="channels", sparsity=0.5)
    assert peak_memory(model) - peak_memory(small.model) >= 3 * 3 * 32 * 32 * 4


def test_sparsity_is_counted_in_the_weights(tiny_diffusion):
    pruned = prune(str(tiny_diffusion), method="magnitude", sparsity=0.5, allocation="ramp").model
    pruned.module.model.layers[2].mlp.up_proj.weight.data.zero_()
    for row in layer_sparsity(pruned):
        weights = torch.cat([m.weight.flatten() for m in pruned.linears(row["layer"]).values()])
        assert row["zeros"] == int((weights == 0).sum()) and row["sparsity"] == row["zeros"] / len(weights)
    shares = [row["sparsity"] for row in layer_sparsity(pruned)]
    assert shares[0] > shares[1] and shares[2] > 0.5


def test_texts_may_be_written_block_by_block(monkeypatch, tiny_diffusion, tiny_causal):
    from sap_core.evaluation.generation import generate
    from sap_core.samplers import dispatch

    seen = []
    plain = dispatch.sample

    def watched(*args, **options):
        for step in plain(*args, **options):
            seen.append(step.accepted[0].nonzero().flatten().tolist())
            yield step

    monkeypatch.setattr(dispatch, "sample", watched)
    written = generate(load_model(str(tiny_diffusion)), ["a b"], length=18, block_length=4)
    order = [place - written.starts[0] for places in seen for place in places]
    assert sorted(order) == list(range(18 - written.starts[0]))
    assert [place // 4 for place in order] == sorted(place // 4 for place in order)
    # a model that writes from left to right has no blocks to be told of
    causal = load_model(str(tiny_causal))
    assert torch.equal(
        generate(causal, ["a b"], length=18, block_length=4).tokens, generate(causal, ["a b"], length=18).tokens
    )


def test_the_speed_is_that_of_the_best_turn_however_busy_the_machine_is_in_the_others(monkeypatch):
    from sap_core.evaluation import cost

    clock = iter([0, 0, *(0, 1, 1, 7), *(0, 5, 5, 7)])  # b goes first in the second turn, a in the third
    monkeypatch.setattr(cost, "_generate", lambda model: 10)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    a, b = cost.generation_speed(["a", "b"], repeats=2)
    assert (a["turns"], b["turns"]) == ([6, 5], [1, 2])
    assert (a["seconds"], a["tokens_per_second"], b["seconds"]) == (5, 2, 1)
    assert cost.speedup(b, a) == {"speedup": 4.25, "speedup_low": None, "speedup_high": None}  # 6 / 1 and 5 / 2


def test_models_are_timed_in_turns_that_go_both_ways(monkeypatch):
    from sap_core.evaluation import cost

    asked = []
    monkeypatch.setattr(cost, "_generate", lambda model: asked.append(model) or len(asked))
    done = []
    rows = cost.generation_speed(["a", "b"], repeats=3, progress=lambda report: done.append(report.done))
    assert "".join(asked) == "abbaabba" and done == list(range(8))
    assert [len(row["turns"]) for row in rows] == [3, 3]
    # what was written belongs to its model: the last turn is b's seventh text and a's eighth
    assert [round(row["tokens_per_second"] * row["seconds"]) for row in rows] == [8, 7]


def test_a_model_against_itself_is_timed_once_and_equals_itself(monkeypatch):
    from sap_core.evaluation import cost

    asked = []
    monkeypatch.setattr(cost, "_generate", lambda model: asked.append(model) or 1)
    model = object()
    a, b = cost.generation_speed([model, model])
    assert len(asked) == 7 and cost.speedup(a, b) == {"speedup": 1, "speedup_low": 1, "speedup_high": 1}
    assert speed_words(cost.speedup(a, b)) == "no change"


def test_a_speed_within_the_noise_of_its_turns_is_no_measurable_change():
    from sap_core.evaluation import cost

    def row(*turns):
        return {"tokens_per_second": 100 / min(turns), "seconds": min(turns), "turns": list(turns)}

    dense = row(1.0, 1.1, 1.0, 1.3, 1.0, 1.05)
    noisy = cost.speedup(row(0.99, 1.12, 1.01, 1.2, 0.98, 1.06), dense)
    assert noisy["speedup_low"] < 1 < noisy["speedup_high"] and speed_words(noisy).startswith("no measurable change (")
    faster = cost.speedup(row(0.8, 0.9, 0.8, 0.7, 0.81, 0.8), dense)
    assert faster["speedup_low"] > 1 and speed_words(faster).startswith("× 1.25 (95 %: × 1.2")
    assert speed_words({"speedup": 1.2}) == "× 1.20, noise unknown" and speed_cell({"speedup": float("nan")}) == "–"
