"""The denoising loop, step by step, and its rules on logits made by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.samplers.draws import predict
from sap_core.samplers.step_counts import even_share, top_positions
from sap_core.specs import SamplingOptions

PROMPTS = ["w1 w2 w3 w4 w5", "w6 w7"]
MASK = 2


def run(folder: Path, prompts=PROMPTS, length=16, **fields):
    model = load_model(str(folder), device="cpu")
    spec = SamplingOptions.build(length=length, **fields)
    return list(sample(model, build_canvas(model, list(prompts), length), spec))


def test_a_canvas_holds_prompt_and_masks(tiny_diffusion: Path) -> None:
    canvas = build_canvas(load_model(str(tiny_diffusion), device="cpu"), PROMPTS, 8)
    assert canvas.tokens.tolist() == [[5, 6, 7, 8, 9, 2, 2, 2], [10, 11, 2, 2, 2, 2, 2, 2]]
    assert canvas.prompt_lengths == (5, 2) and canvas.fill == 6


def test_a_prompt_longer_than_the_length(tiny_diffusion: Path) -> None:
    with pytest.raises(InvalidInput, match="A prompt has 5 tokens, the length is 4"):
        build_canvas(load_model(str(tiny_diffusion), device="cpu"), PROMPTS, 4)


@pytest.mark.parametrize("sampler", ["low_confidence", "random"])
@pytest.mark.parametrize("block", [None, 4])
def test_steps_tell_one_story(tiny_diffusion: Path, sampler: str, block: int | None) -> None:
    steps = run(tiny_diffusion, sampler=sampler, block_length=block, steps=7)
    assert [step.index for step in steps] == list(range(7)) and {step.total for step in steps} == {7}
    for before, after in pairwise(steps):
        assert torch.equal(before.next_tokens, after.tokens)
    for step in steps:
        assert torch.equal(step.masked, step.tokens == MASK)
        assert torch.equal(step.confidence.isnan(), ~step.masked)
        assert not (step.accepted & ~step.masked).any()
        assert torch.equal(step.next_tokens[~step.accepted], step.tokens[~step.accepted])
        assert (step.next_tokens[step.accepted] != MASK).all()
    assert not (steps[-1].next_tokens == MASK).any()
    # Each row's tokens are shared evenly: 11 and 14 in 7 steps, the remainder first.
    if block is None:
        counts = torch.stack([step.accepted.sum(1) for step in steps], 1)
        assert counts.tolist() == [[2, 2, 2, 2, 1, 1, 1], [2] * 7]


def test_blocks_are_written_in_order(tiny_diffusion: Path) -> None:
    steps = run(tiny_diffusion, prompts=["w1 w2 w3 w4"], block_length=4, steps=6)
    for step in steps:
        written = step.accepted[0].nonzero()[:, 0]
        earlier = step.masked[0, 4 : 4 + 4 * ((int(written.min()) - 4) // 4)]
        assert len({(int(i) - 4) // 4 for i in written}) == 1 and not earlier.any()


def test_masks_inside_a_prompt_are_filled(tiny_diffusion: Path) -> None:
    steps = run(tiny_diffusion, prompts=["w1 <mask> w3"], length=9, block_length=2, steps=5)
    assert not (steps[-1].next_tokens == MASK).any()
    assert steps[-1].next_tokens[0, [0, 2]].tolist() == [5, 7]


def test_low_confidence_keeps_the_surest(tiny_diffusion: Path) -> None:
    model = load_model(str(tiny_diffusion), device="cpu")
    step = run(tiny_diffusion, steps=7)[0]
    logits = model.logits(step.tokens)
    logits[..., MASK] = -torch.inf
    for row in range(2):
        best = torch.softmax(model.logits(step.tokens), -1).gather(-1, logits.argmax(-1, keepdim=True))[row, :, 0]
        best = best.masked_fill(~step.masked[row], -1)
        assert set(best.topk(2).indices.tolist()) == set(step.accepted[row].nonzero()[:, 0].tolist())


@pytest.mark.parametrize("fields", [{"temperature": 1.0}, {"sampler": "random"}])
def test_a_seed_repeats_and_another_differs(tiny_diffusion: Path, fields: dict) -> None:
    first, again, other = (run(tiny_diffusion, seed=seed, **fields) for seed in (3, 3, 4))
    assert all(torch.equal(a.next_tokens, b.next_tokens) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.next_tokens, b.next_tokens) for a, b in zip(first, other, strict=True))


def test_guidance_hides_its_second_pass(tiny_diffusion: Path) -> None:
    model = load_model(str(tiny_diffusion), device="cpu")
    seen = []
    model.module.register_forward_hook(lambda *_: seen.append(model.observed))
    canvas = build_canvas(model, PROMPTS, 16)
    list(sample(model, canvas, SamplingOptions.build(length=16, steps=3, guidance=2.0)))
    assert seen == [True, False] * 3


def test_even_shares_by_hand() -> None:
    shares = torch.stack([even_share(torch.tensor([7, 8, 2]), step, 4) for step in range(4)], 1)
    assert shares.tolist() == [[2, 2, 2, 1], [2, 2, 2, 2], [1, 1, 0, 0]]


def test_top_positions_by_hand() -> None:
    confidence = torch.tensor([[0.9, 0.2, 0.5, 0.7]])
    allowed = torch.tensor([[False, True, True, True]])
    assert top_positions(confidence, allowed, torch.tensor([2])).tolist() == [[False, False, True, True]]
    assert top_positions(confidence, allowed, torch.tensor([9])).tolist() == [[False, True, True, True]]


def test_temperature_draws_from_the_tempered_softmax() -> None:
    """Gumbel noise scaled by T makes argmax a draw from softmax(l / T)."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).repeat(20000, 1)
    drawn = predict(logits, 1.0, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=3) / len(drawn)
    torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.2]), atol=0.015, rtol=0)
    cold = torch.bincount(predict(logits, 0.5, torch.Generator().manual_seed(0)), minlength=3) / len(logits)
    torch.testing.assert_close(cold, torch.tensor([25.0, 9.0, 4.0]) / 38, atol=0.015, rtol=0)
