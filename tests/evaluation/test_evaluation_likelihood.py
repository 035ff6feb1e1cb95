"""Likelihood: the bound against all its masks written out, the exact one against transformers' own loss."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sap_core.errors import InvalidInput
from sap_core.evaluation.likelihood import draw_masks, ratio, text_likelihood
from sap_core.evaluation.texts import TextRow, file_rows, story_rows
from sap_core.models.loading import load_model


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

    rows = story_rows(diffusion.encode, samples=6, seed=0, diffusion=True, fill_id=1, max_length=64)
    dense = text_likelihood(diffusion, rows, draws=4, seed=0)
    assert dense.minus(text_likelihood(diffusion, rows, draws=4, seed=0)) == {"nats_per_token": 0, "standard_error": 0}
    slightly = prune(diffusion, method="magnitude", sparsity=0.05).model
    pruned = text_likelihood(slightly, rows, draws=4, seed=0)
    assert pruned.minus(dense)["standard_error"] < dense.summary()["standard_error"]


def test_the_ratio_and_its_error_by_hand():
    mean, error = ratio(np.array([2.0, 4.0]), np.array([1.0, 1.0]))
    assert (mean, error) == (3.0, 1.0)  # std 1.414 / sqrt(2)
    assert ratio(np.array([6.0]), np.array([3.0])) == (2.0, 0.0)


def test_different_texts_are_not_compared(diffusion):
    a = text_likelihood(diffusion, [row_of([5, 6, 7])], draws=2, seed=0)
    b = text_likelihood(diffusion, [row_of([5, 6, 7, 8])], draws=2, seed=0)
    with pytest.raises(InvalidInput, match="pair by pair"):
        a.minus(b)


def test_rows_of_stories_and_files(tmp_path):
    def encode(text):
        return [3 + len(word) % 90 for word in text.split()]

    canvas = story_rows(encode, samples=1, seed=0, diffusion=True, fill_id=1, max_length=None)[0]
    length = canvas.counted
    assert canvas.scored.all() and len(canvas.tokens) % 32 == 0 and len(canvas.tokens) >= 128
    assert (canvas.tokens[length - 1 :] == 1).all() and canvas.tokens[length - 2] != 1
    causal = story_rows(encode, samples=1, seed=0, diffusion=False, fill_id=1, max_length=None)[0]
    assert causal.counted == causal.scored.sum() == length - 1 and not causal.scored[0]
    (tmp_path / "a.txt").write_text("one three five seven nine eleven " * 200)
    windows = file_rows(str(tmp_path / "a.txt"), encode, samples=5, seed=0, diffusion=True, max_length=50)
    assert [len(row.tokens) for row in windows] == [50] * 5


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"\xe9", "not UTF-8"), (None, "does not exist")])
def test_unusable_text_files_are_refused(tmp_path, content, words):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        file_rows(str(path), lambda text: [1, 2], samples=1, seed=0, diffusion=True, max_length=None)
