"""Likelihood: the bound against all its masks written out, the exact one against transformers' own loss."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sap_core.errors import InvalidInput
from sap_core.evaluation.likelihood import draw_masks, text_likelihood
from sap_core.evaluation.texts import evaluation_texts, story_texts
from sap_core.models.loading import load_model
from sap_core.stories.tokenizer import canvas_length
from sap_core.texts.rows import TextRow


@pytest.fixture(scope="module")
def diffusion(tiny_diffusion):
    return load_model(str(tiny_diffusion))


@pytest.fixture(scope="module")
def causal(tiny_causal):
    return load_model(str(tiny_causal))


def row_of(ids, scored=None):
    ids = np.asarray(ids, np.int64)
    scored = np.ones(len(ids), bool) if scored is None else np.asarray(scored)
    return TextRow(ids, scored, int(scored.sum()))


def test_the_bound_is_the_mean_over_every_mask(diffusion):
    """Text of 5 tokens: E over k of the mean over all masks of size k of n/k times their loss, written out."""
    ids = [10, 20, 30, 40, 50]
    tokens = torch.tensor([ids])
    by_size = []
    for k in range(1, 6):
        losses = []
        for chosen in combinations(range(5), k):
            noised = tokens.clone()
            noised[0, list(chosen)] = diffusion.info.mask_token_id
            logits = diffusion.logits(noised)[0, list(chosen)]
            losses.append(float(cross_entropy(logits, tokens[0, list(chosen)], reduction="sum")) * 5 / k)
        by_size.append(np.mean(losses))
    exact = np.mean(by_size)
    rows = [row_of(ids)] * 20
    found = text_likelihood(diffusion, rows, draws=25, seed=0)
    error = found.nats.std(ddof=1) / np.sqrt(len(rows))
    assert abs(found.nats.mean() - exact) < 4 * error < 0.05 * exact
    assert found.kind == "bound"


def test_masks_are_stratified_seeded_and_only_where_scored():
    scored = np.array([True] * 8 + [False] * 4)
    masks = draw_masks(scored, 8, seed=3, index=5)
    assert sorted(masks.sum(1).tolist()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not masks[:, 8:].any()
    assert masks.equal(draw_masks(scored, 8, seed=3, index=5))
    assert not masks.equal(draw_masks(scored, 8, seed=4, index=5))


def test_batches_do_not_change_a_text(diffusion):
    rows = [row_of(range(4, 4 + n)) for n in (12, 12, 9, 12)]
    together = text_likelihood(diffusion, rows, draws=4, seed=1).nats
    first = text_likelihood(diffusion, rows[:1], draws=4, seed=1).nats
    assert np.allclose(together[0], first[0], rtol=1e-5)


def test_the_exact_likelihood_equals_transformers_own_loss(causal):
    ids = list(range(5, 25))
    found = text_likelihood(causal, [row_of(ids, [False] + [True] * 19)], draws=1, seed=0)
    tokens = torch.tensor([ids])
    with torch.no_grad():
        loss = float(causal.module(input_ids=tokens, labels=tokens).loss)
    assert found.kind == "exact"
    assert found.summary()["nats_per_token"] == pytest.approx(loss, rel=1e-5)


def test_a_model_against_itself_differs_by_zero_and_pairing_shrinks_the_error(diffusion):
    from sap_core.pruning.api import prune

    rows = story_texts(diffusion, samples=6, seed=0).rows
    dense = text_likelihood(diffusion, rows, draws=4, seed=0)
    again = text_likelihood(diffusion, rows, draws=4, seed=0, reference=diffusion)
    none = {"nats_per_token": 0, "standard_error": 0, "low": 0, "high": 0}
    assert dense.minus(again) == again.divergence() == none and dense.divergence() is None
    slightly = prune(diffusion, method="magnitude", sparsity=0.05).model
    pruned = text_likelihood(slightly, rows, draws=4, seed=0)
    assert pruned.minus(dense)["standard_error"] < dense.summary()["standard_error"]


def test_one_text_has_no_error(diffusion):
    found = text_likelihood(diffusion, [row_of([5, 6, 7])], draws=2, seed=0)
    assert found.summary()["standard_error"] is None and found.summary()["low"] is None
    assert found.minus(found) == {"nats_per_token": 0, "standard_error": None, "low": None, "high": None}


@pytest.mark.parametrize("which", ["diffusion", "causal"])
def test_kl_is_that_of_the_two_distributions_at_every_predicted_token(which, request):
    """Written out, text by text, mask by mask."""
    from sap_core.pruning.api import prune

    model = request.getfixturevalue(which)
    pruned = prune(model, method="magnitude", sparsity=0.3).model
    scored = [which == "diffusion", True, True, False, True]
    rows = [row_of([10, 20, 30, 40, 50], scored), row_of(range(5, 17))]
    found = text_likelihood(pruned, rows, draws=3, seed=0, reference=model)
    for i, row in enumerate(rows):
        tokens, expected = torch.from_numpy(row.tokens)[None], []
        masks = draw_masks(row.scored, 3, 0, i) if which == "diffusion" else [None]
        for mask in masks:
            seen = tokens if mask is None else tokens.masked_fill(mask, model.info.mask_token_id)
            p, q = (m.logits(seen)[0].log_softmax(-1) for m in (model, pruned))
            each = (p.exp() * (p - q)).sum(-1)
            where = torch.from_numpy(row.scored)[1:] if mask is None else mask
            each = each[:-1][where] if mask is None else each[where]
            expected.append(float(each.sum()) if mask is None else float(each.mean()) * row.scored.sum())
        assert found.kl[i] == pytest.approx(np.mean(expected), rel=1e-4)
    assert found.divergence()["low"] >= 0


def test_different_texts_are_not_compared(diffusion):
    a = text_likelihood(diffusion, [row_of([5, 6, 7])], draws=2, seed=0)
    b = text_likelihood(diffusion, [row_of([5, 6, 7, 8])], draws=2, seed=0)
    with pytest.raises(InvalidInput, match="pair by pair"):
        a.minus(b)


def test_stories_fill_the_canvas_of_a_demo_model_and_of_no_other(diffusion):
    demo = load_model("demo:stories-diffusion")
    canvas = evaluation_texts(demo, None, samples=1, seed=0).rows[0]
    length, end = canvas.counted, demo.tokenizer.eos_token_id
    assert canvas.scored.all() and len(canvas.tokens) == canvas_length(length)
    assert (canvas.tokens[length - 1 :] == end).all() and canvas.tokens[length - 2] != end
    own = evaluation_texts(diffusion, None, samples=1, seed=0).rows[0]
    assert own.counted == own.scored.sum() == len(own.tokens)
    causal = evaluation_texts(load_model("demo:stories-ar"), None, samples=1, seed=0).rows[0]
    assert causal.counted == causal.scored.sum() == length and not causal.scored[0]
