"""Each denoising rule against its stated formula, on logits made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sap_core.choices.samplers import DREAM
from sap_core.samplers import llada, schedule
from sap_core.samplers.check import Sampling
from sap_core.samplers.denoise import StepContext
from sap_core.samplers.draws import Rows, restrict
from sap_core.samplers.step_counts import rounded_shares

# Four masked positions of one canvas; softmax of log p is p. The last of five words is the mask token.
SHARES = torch.tensor(
    [
        [0.50, 0.45, 0.03, 0.02, 0.0],
        [0.40, 0.15, 0.15, 0.30, 0.0],
        [0.10, 0.70, 0.10, 0.10, 0.0],
        [0.45, 0.05, 0.25, 0.25, 0.0],
    ]
)


def context(step: int = 0, steps: int = 4, **fields) -> StepContext:
    masked = torch.tensor([[False, True, True, True, True]])
    own = ("threshold", "temperature", "confidence_temperature", "draws", "entropy_limit", "top_k", "top_p")
    options = {name: fields.pop(name) for name in own if name in fields}
    settings = {
        "logits": SHARES.log(),
        "rows": Rows(torch.arange(1, 5), 5),
        "masked": masked,
        "allowed": masked,
        "start": masked.sum(1),
        "step": step,
        "steps": steps,
        "mask_id": 4,
        "sampling": Sampling("rule", steps, 4, **options),
        "generator": torch.Generator().manual_seed(0),
    }
    return StepContext(**{**settings, **fields})


def chosen(rule, **fields) -> list[int]:
    """Numbers of the masked positions that are written, 0 to 3."""
    return (rule(context(**fields))[2][0, 1:]).nonzero()[:, 0].tolist()


def test_low_confidence_takes_the_highest_probability() -> None:
    predicted, score, accepted = llada.keep_surest(context())
    assert predicted.tolist() == [0, 0, 1, 0]
    torch.testing.assert_close(score, torch.tensor([0.5, 0.4, 0.7, 0.45]))
    assert accepted.tolist() == [[False, False, False, True, False]]
    assert chosen(llada.keep_surest, steps=2) == [0, 2]


def test_random_takes_its_share_whatever_the_probability() -> None:
    picks = {
        tuple(chosen(llada.keep_random, steps=2, generator=torch.Generator().manual_seed(seed))) for seed in range(40)
    }
    assert len(picks) == 6


def test_a_threshold_keeps_all_that_reach_it_and_at_least_one() -> None:
    assert chosen(llada.keep_above_threshold, threshold=0.449) == [0, 2, 3]
    assert chosen(llada.keep_above_threshold, threshold=0.9) == [2]
    assert chosen(llada.keep_above_threshold, threshold=0.9, steps=2) == [0, 2]


def test_a_threshold_writes_nothing_outside_the_block() -> None:
    allowed = torch.tensor([[False, True, True, False, False]])
    assert chosen(llada.keep_above_threshold, threshold=0.1, allowed=allowed) == [0, 1]


# 1 - s / t of the first of four steps: t = 1, s = 1 - 0.999 / 4; of four masks, int(4 x 0.24975) = 0 open.
def test_dream_opens_as_many_as_its_schedule_says() -> None:
    assert chosen(schedule.maskgit_plus) == []
    assert chosen(schedule.maskgit_plus, steps=2) == [2]
    assert chosen(schedule.maskgit_plus, step=3) == [0, 1, 2, 3]
    assert schedule.opening(context()) == pytest.approx(0.999 / 4)


def test_dream_ranks_by_probability_margin_or_entropy() -> None:
    _, margin, _ = schedule.topk_margin(context(steps=2))
    torch.testing.assert_close(margin, torch.tensor([0.05, 0.1, 0.6, 0.2]))
    _, negative, _ = schedule.entropy(context(steps=2))
    expected = [sum(p * math.log(p) for p in row if p) for row in SHARES.tolist()]
    assert negative.tolist() == pytest.approx(expected, abs=1e-6)
    # Of three open masks, 0 leads by probability, 3 by margin, 0 by entropy.
    allowed = torch.tensor([[False, True, True, False, True]])
    picks = [chosen(rule, steps=2, step=1, allowed=allowed) for rule in (schedule.maskgit_plus, schedule.entropy)]
    assert picks == [[0, 1, 3], [0, 1, 3]]
    long = {"steps": 3, "step": 1, "allowed": allowed}  # 1 - s / t = 0.4995: one of three
    assert chosen(schedule.maskgit_plus, **long) == [0]
    assert chosen(schedule.topk_margin, **long) == [3]
    assert chosen(schedule.entropy, **long) == [0]


def test_origin_opens_each_mask_with_the_probability_of_the_schedule() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [schedule.origin(context(generator=generator))[2][0, 1:].float() for _ in range(3000)]
    share = torch.stack(draws).mean(0)
    torch.testing.assert_close(share, torch.full((4,), 0.999 / 4), atol=0.03, rtol=0)
    assert schedule.origin(context(step=3))[2].sum() == 4


def test_mdlm_draws_from_q() -> None:
    """Four steps are three of t = 1, 2/3, 1/3 (and 1e-5 at the end), and one that takes what is likeliest."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([schedule.mdlm(context(step=1, temperature=1.0, generator=generator))[0] for _ in range(4000)])
    before, after = 2 / 3, 1 / 3
    for position in range(4):
        share = torch.bincount(drawn[:, position], minlength=5) / len(drawn)
        expected = SHARES[position] * (before - after) / before
        expected[4] = after / before
        torch.testing.assert_close(share, expected, atol=0.03, rtol=0)


def test_mdlm_writes_everything_at_its_last_step_and_never_the_mask() -> None:
    predicted, _, accepted = schedule.mdlm(context(step=3))
    assert predicted.tolist() == [0, 0, 1, 0] and accepted.sum() == 4


def test_filters_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = [
        restrict(logits, *cuts)[0].isfinite().tolist() for cuts in ((2, None), (None, 0.45), (None, 0.79), (0, 1.0))
    ]
    assert kept == [[True, True, False, False], [True, False, False, False], [True, True, False, False], [True] * 4]
    # Of the three likeliest 0.5 / 0.95 is more than half; of all of them it is not.
    assert restrict(logits, 3, 0.52)[0].isfinite().sum() == 1
    assert restrict(logits, 3, 0.52, nucleus_first=True)[0].isfinite().sum() == 2


def test_dreams_shares_are_those_of_the_kept_tokens_at_temperature_0_too() -> None:
    _, score, _ = schedule.maskgit_plus(context(steps=2, draws=DREAM, top_k=2))
    torch.testing.assert_close(score, torch.tensor([0.5 / 0.95, 0.4 / 0.7, 0.7 / 0.8, 0.45 / 0.7]), atol=0.2, rtol=0)
    assert float(score[0]) == pytest.approx(0.5 / 0.95, abs=1e-6)


def test_rounded_shares_by_hand() -> None:
    assert rounded_shares(32, 32) == [1] * 32
    # 32 / 20 = 1.6, 30 / 19 = 1.58, ...: rounded of what is left, ties to even.
    assert rounded_shares(32, 20) == [2, 2, 2, 2, 2, 1, 2, 1, 2, 1, 2, 1, 1, 2, 2, 1, 2, 1, 2, 1]
    assert rounded_shares(8, 5) == [2, 2, 1, 2, 1] and rounded_shares(3, 8) == [1, 1, 1]


def test_a_confidence_temperature_draws_which_masks_open() -> None:
    picks = {
        tuple(
            chosen(
                schedule.maskgit_plus,
                steps=2,
                confidence_temperature=1.0,
                generator=torch.Generator().manual_seed(seed),
            )
        )
        for seed in range(60)
    }
    assert picks == {(0,), (1,), (2,), (3,)}


def test_entropy_linear_keeps_the_highest_entropies_masked() -> None:
    # Entropies: 0.89, 1.30, 0.94, 1.20; after one of two steps int(4 / 2) stay masked.
    assert chosen(schedule.entropy_linear, steps=2) == [0, 2]
    assert chosen(schedule.entropy_linear, steps=4, step=3) == [0, 1, 2, 3]


def test_entropy_bounded_opens_what_is_sure_together() -> None:
    # By p: 2 (H 0.94), 0 (0.89), 3 (1.20), 1 (1.30). Sums without the largest: 0, 0.89, 1.83, 3.03.
    for limit, expected in ((0.0, [2]), (0.9, [0, 2]), (1.85, [0, 2, 3]), (9.0, [0, 1, 2, 3])):
        assert chosen(schedule.entropy_bounded, steps=4, entropy_limit=limit) == expected
