"""Scores by hand, and the parts that sink-awareness is made of."""

from __future__ import annotations

import math

import pytest
import torch

from sap_core.errors import ModelProblem
from sap_core.models.loading import load_model
from sap_core.pruning.scoring.gradients import taylor_scores
from sap_core.pruning.scoring.scores import score
from sap_core.pruning.scoring.sink_weighting import (
    level_steps,
    noised_inputs,
    persistence,
    sink_weights,
)
from sap_core.pruning.scoring.statistics import (
    Gram,
    RootMeanSquare,
    SumOfNorms,
    TokenRows,
    add_batch,
)

WEIGHT = torch.tensor([[1.0, -2.0], [3.0, 4.0]])


def test_formulas_by_hand():
    norms = torch.tensor([4.0, 9.0])
    assert score("magnitude", WEIGHT, None).tolist() == [[1, 2], [3, 4]]
    assert score("wanda", WEIGHT, norms).tolist() == [[4, 18], [12, 36]]
    # columns sum to 4 and 6, rows to 3 and 7; roots of the norms are 2 and 3
    expected = [[(1 / 4 + 1 / 3) * 2, (2 / 6 + 2 / 3) * 3], [(3 / 4 + 3 / 7) * 2, (4 / 6 + 4 / 7) * 3]]
    torch.testing.assert_close(score("ria", WEIGHT, norms), torch.tensor(expected))
    assert (score("ria", torch.zeros(2, 2), norms) == 0).all()
    first = score("random", WEIGHT, None, seed=1, matrix="a")
    assert first.equal(score("random", WEIGHT, None, seed=1, matrix="a"))
    assert not first.equal(score("random", WEIGHT, None, seed=1, matrix="b"))


def test_statistics_by_hand():
    """Two rows of two tokens, one input: 3, 4 and 0, 2 with weights 1 except the last token's 0.5."""
    x = torch.tensor([[[3.0], [4.0]], [[0.0], [2.0]]])
    weights = torch.tensor([[1.0, 1.0], [1.0, 0.5]])
    for statistic, expected in ((SumOfNorms, 6.0), (RootMeanSquare, 13**0.5), (Gram, 26.0)):
        found = statistic()
        found.add(statistic.measure(x, weights), len(x))
        assert float(found.result().flatten()) == pytest.approx(expected)


def test_noise_grows_with_the_level_and_follows_the_published_order():
    tokens = torch.zeros(3, 400, dtype=torch.long)
    noised = noised_inputs(tokens, 7, seed=5)
    share = (noised == 7).float().mean((0, 2))
    assert noised.shape == (3, 10, 400) and (share.diff() > 0).all()
    assert float(share[-1]) == 1.0 and abs(float(share[4]) - 0.5) < 0.06
    generator = torch.Generator().manual_seed(5)
    for sample in range(3):
        for place, level in enumerate(range(5, 51, 5)):
            row = torch.rand(1, 400, generator=generator)[0]
            assert (noised[sample, place] == 7).equal(row < (1 - 1e-3) * level / 50 + 1e-3)


def test_the_number_of_levels_is_a_choice():
    assert level_steps(10) == list(range(5, 51, 5)) and level_steps(2) == [25, 50]
    share = (noised_inputs(torch.zeros(40, 100, dtype=torch.long), 7, 0, levels=4) == 7).float().mean((0, 2))
    assert torch.allclose(share, torch.tensor([0.25, 0.5, 0.75, 1.0]), atol=0.03)


def test_one_position_that_takes_all_attention_is_the_sink():
    received = torch.full((1, 2, 2, 16), 0.5 / 15)
    received[..., 5] = 0.5
    phi = sink_weights(received)
    assert phi[0, 5] > 0.99 and (phi[0, [i for i in range(16) if i != 5]] < 0.01).all()
    assert (sink_weights(torch.full((1, 2, 2, 16), 1 / 16)) <= 0.5).all()


def test_the_weight_is_a_sigmoid_of_the_mass_around_the_limit():
    # Mass 10 at one of five positions: mean 2, population std 4, limit 10. Twice as much: mass 20, limit 4 + 2 * 8.
    received = torch.zeros(2, 1, 1, 5)
    received[0, ..., 0], received[1, ..., 1] = 10 / 5, 2 * 10 / 5
    phi = sink_weights(received)
    assert phi[0, 0] == 0.5 and phi[1, 1] == 0.5 and phi[0, 1] < 1e-20
    # Two layers of two heads count together, each with its 4 queries: masses 8, 0, 0, 0; 5 (8 - (2 + 2 * 3.4641)).
    four = torch.tensor([0.5, 0.0, 0.0, 0.0]).expand(1, 2, 2, 4)
    assert sink_weights(four)[0, 0].item() == pytest.approx(1 / (1 + math.exp(-5 * (8 - 2 - 2 * 12**0.5))), rel=1e-4)


def test_persistence_of_sinks_that_stay_come_once_and_alternate():
    phi = torch.zeros(1, 10, 4)
    phi[0, :, 0] = 1.0
    phi[0, 2:7, 1] = 1.0
    phi[0, ::2, 2] = 1.0
    torch.testing.assert_close(persistence(phi), torch.tensor([[1.0, 0.5, 0.1, 0.0]]))


def test_taylor_is_what_the_loss_loses(tiny_causal):
    """Setting one weight to zero changes the loss by about its score, where that is small."""
    model = load_model(str(tiny_causal))
    tokens = torch.arange(5, 21)[None]
    rows = TokenRows(tokens, torch.ones(1, 16))
    scores = taylor_scores(model, rows, tokens)
    assert not any(p.requires_grad for p in model.module.parameters())
    name = "model.layers.2.mlp.down_proj"
    weight = model.module.get_submodule(name).weight.data

    def loss() -> float:
        logits = model.logits(tokens)[0, :-1].double()
        return float(torch.nn.functional.cross_entropy(logits, tokens[0, 1:]))

    base = loss()
    small = weight.abs() < weight.abs().quantile(0.2)  # first order holds for small steps
    for row, column in small.nonzero()[:: int(small.sum()) // 6].tolist():
        kept = float(weight[row, column])
        weight[row, column] = 0
        assert abs(loss() - base) == pytest.approx(float(scores[name][row, column]), rel=0.1, abs=1e-6)
        weight[row, column] = kept


def test_inputs_that_are_not_one_row_per_token_are_refused_by_name():
    with pytest.raises(ModelProblem, match="positions is applied to 3 rows where texts have 8 tokens"):
        add_batch({"positions": Gram()}, {"positions": torch.zeros(3, 5)}, torch.ones(2, 4))
