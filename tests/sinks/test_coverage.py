"""Every interval that the product shows holds the truth in 95 % ± 3 % of 500 simulated draws, by its own function.

What is shown: the error of an evaluation, paired differences, KL and the same in sweeps (`ratio_interval`); means,
claims, curves and differences of a comparison (`mean_interval`, `difference_interval`); pooled measurements of a plan
and of a sweep's seeds (`pooled_interval`, `seeds_interval`); scores of tasks (`share_interval`); speeds (`speedup`).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sap_core.evaluation.cost import speedup
from sap_core.evaluation.likelihood import Losses
from sap_core.sinks.compare import BOUNDS, _band
from sap_core.sinks.intervals import difference_interval, mean_interval, pooled_interval, ratio_interval, share_interval
from sap_core.sweeps.table import paired_difference, seeds_interval, summarise

DRAWS = 500


def coverage(draw, seed=0) -> float:
    """The share of `DRAWS` in which ``draw(generator)``, (truth, low, high), holds the truth."""
    generator = np.random.default_rng(seed)
    found = [draw(generator) for _ in range(DRAWS)]
    return sum(low <= truth <= high for truth, low, high in found) / DRAWS


def holds(draw, seed=0) -> None:
    assert 0.92 <= coverage(draw, seed) <= 0.98


def texts(generator, n):
    """Tokens of ``n`` texts, from short to long: what is drawn is a text, not a token."""
    return generator.integers(8, 60, n)


def effects(generator, n, skew):
    """What texts cost a token, mean 1: normal, or skewed as KL divergences are (log-normal)."""
    return generator.lognormal(-(skew**2) / 2, skew, n) if skew else generator.normal(1, 0.3, n)


@pytest.mark.parametrize("n", [2, 4, 8, 32])
@pytest.mark.parametrize("skew", [0, 0.25])
def test_the_error_of_an_evaluation(n, skew):
    def draw(generator):
        counted = texts(generator, n)
        nats = counted * effects(generator, n, skew)
        found = Losses(np.abs(nats), counted, "exact").summary()
        return 1.0, found["low"], found["high"]

    holds(draw)


@pytest.mark.parametrize("n", [4, 16])
def test_a_kl_divergence_is_within_its_bound(n):
    def draw(generator):
        counted = texts(generator, n)
        kl = 0.01 * counted * effects(generator, n, 0.5)
        found = Losses(2.0 * counted, counted, "bound", kl).divergence()
        assert found["low"] > 0
        return 0.01, found["low"], found["high"]

    holds(draw)


@pytest.mark.parametrize("n", [4, 8, 32])
def test_a_paired_difference_of_evaluations_and_of_cells_of_a_sweep(n):
    def draw(generator, cells=False):
        counted, shared = texts(generator, n), effects(generator, n, 0)
        dense = counted * shared
        pruned = dense + counted * generator.normal(0.05, 0.1, n) + np.sqrt(counted) * generator.normal(0, 0.2, n)
        if cells:
            records = [{"quality": {"nats": each, "counted": counted}} for each in (pruned, dense)]
            found = paired_difference(*records)
            return 0.05, found.low, found.high
        found = Losses(pruned, counted, "bound").minus(Losses(dense, counted, "bound"))
        return 0.05, found["low"], found["high"]

    holds(draw)
    holds(lambda generator: draw(generator, cells=True))


def test_tokens_of_a_text_are_no_observations_of_their_own():
    """An error over tokens would be several times too small where texts differ."""

    def draw(generator):
        counted = np.full(8, 50)
        nats = counted * effects(generator, 8, 0) + np.sqrt(counted) * generator.normal(0, 0.5, 8)
        found = ratio_interval(nats, counted)
        per_token = 1.96 * math.sqrt(0.5**2 / counted.sum())
        assert found.high - found.low > 2 * per_token
        return 1.0, found.low, found.high

    holds(draw)


@pytest.mark.parametrize("n", [3, 6, 20])
@pytest.mark.parametrize("shape", [(2, 2), (1, 4), (8, 1)])
def test_a_mean_over_prompts_of_a_share(n, shape):
    """Switch rate, persistence and their kin, and the claims on them; curves have such an interval at each time."""
    truth = shape[0] / sum(shape)

    def draw(generator):
        found = mean_interval(generator.beta(*shape, n), "prompts", BOUNDS["switch_rate"])
        assert 0 <= found.low <= found.high <= 1
        return truth, found.low, found.high

    holds(draw)


def test_a_band_of_a_curve_over_prompts():
    def draw(generator):
        low, high = _band(generator.gamma(4, 0.25, (6, 1)), BOUNDS["entropy"])
        return 1.0, low[0], high[0]

    holds(draw)


@pytest.mark.parametrize(("n", "m", "paired"), [(4, 4, True), (5, 5, False), (4, 20, False), (12, 12, True)])
def test_a_difference_of_two_runs(n, m, paired):
    def draw(generator):
        prompts = generator.normal(0.5, 0.1, max(n, m))
        a = prompts[:n] + generator.normal(0, 0.05, n)
        b = (prompts[:m] if paired else generator.normal(0.5, 0.03, m)) + 0.1 + generator.normal(0, 0.05, m)
        found = difference_interval(a, b, paired=paired, bounds=(-1, 1))
        return 0.1, found.low, found.high

    holds(draw)


def measured(generator, seeds, n, between):
    """[seeds] losses and their errors over the same ``n`` texts, about 1."""
    shared = generator.normal(0, 0.3, n)
    own = generator.normal(0, between, seeds)[:, None] + generator.normal(0, 0.1, (seeds, n))
    losses = 1 + shared + own
    return losses.mean(axis=1), losses.std(axis=1, ddof=1) / math.sqrt(n)


@pytest.mark.parametrize("between", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize(("seeds", "n"), [(1, 8), (2, 8), (2, 32), (3, 8), (5, 32)])
def test_what_is_pooled_over_seeds_on_the_same_texts(seeds, n, between):
    """Repeating a measurement on the same texts makes the error of the texts no smaller; two seeds tell little of
    others, and the interval is as wide as that, but no wider."""
    if seeds == 1 and between:
        pytest.skip("one seed says nothing of others")

    def draw(generator):
        found = pooled_interval(*measured(generator, seeds, n, between), n)
        return 1.0, found.low, found.high

    def row_of_a_sweep(generator):
        losses, errors = measured(generator, seeds, n, between)
        found = seeds_interval(losses, (float(errors.mean()), n))
        return 1.0, found["low"], found["high"]

    holds(draw, seed=2)
    holds(row_of_a_sweep, seed=2)


def test_a_row_of_a_sweep_has_the_interval_of_its_seeds():
    losses, errors = measured(np.random.default_rng(0), 2, 8, 0.1)
    table = pd.DataFrame({"difference": losses, "difference_error": errors, "seed": range(2)})
    found = summarise(table.assign(state="finished", method="wanda", texts=8)).iloc[0]
    expected = seeds_interval(losses, (float(errors.mean()), 8))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("n", [8, 32, 100])
def test_the_score_of_a_task(n):
    def draw(generator):
        share = generator.random()
        low, high = share_interval(int(generator.binomial(n, share)), n)
        assert 0 <= low < high <= 1
        return share, low, high

    holds(draw)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["even", "heavy"])
def test_a_speed(noise):
    """The machine slows for a while now and then; both models of a turn are slowed."""

    def draw(generator):
        busy = generator.lognormal(0, 0.3, 6)
        own, dense = (
            busy * (generator.lognormal(0, 0.05, 6) if noise == "even" else 1 + 0.02 * generator.standard_t(2, 6) ** 2)
            for _ in range(2)
        )
        rows = [
            {"turns": list(turns), "seconds": min(turns), "tokens_per_second": 100 / min(turns)}
            for turns in (own / 1.3, dense)
        ]
        found = speedup(*rows)
        return 1.3, found["speedup_low"], found["speedup_high"]

    holds(draw)
