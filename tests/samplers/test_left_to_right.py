"""The autoregressive loop: equal to transformers' own greedy generation, padded or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sap_core.errors import InvalidInput, ModelProblem
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions


@pytest.fixture
def model(tiny_causal: Path):
    return load_model(str(tiny_causal), device="cpu")


def run(model, prompts, length=14, **fields):
    spec = SamplingOptions.build(length=length, **fields)
    return list(sample(model, build_canvas(model, prompts, length), spec))


def test_greedy_equals_generate(model) -> None:
    steps = run(model, ["w1 w2 w3"])
    ids = torch.tensor([model.encode("w1 w2 w3")])
    expected = model.module.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=11, do_sample=False, pad_token_id=0
    )
    written = steps[-1].next_tokens[0, : expected.shape[1]]
    assert torch.equal(written, expected[0])


def test_batches_are_padded_on_the_left(model) -> None:
    alone = run(model, ["w4"], length=12)
    both = run(model, ["w1 w2 w3", "w4"], length=14)
    count = min(len(alone), len(both))
    assert both[0].tokens[1].tolist()[:3] == [0, 0, 8]
    assert torch.equal(both[count - 1].next_tokens[1, 2 : 3 + count], alone[count - 1].next_tokens[0, : 1 + count])


def test_steps_tell_one_story(model) -> None:
    steps = run(model, ["w1 w2", "w5 w6"], length=10, steps=5, temperature=1.0, seed=1)
    for index, step in enumerate(steps):
        assert step.index == index and step.total == 5
        assert step.masked[0].tolist() == [False] * (2 + index) + [True] * (8 - index)
        assert step.accepted.nonzero()[:, 1].tolist() == [2 + index] * 2
        assert torch.equal(step.confidence.isnan(), ~step.accepted)
        assert torch.equal(step.next_tokens[~step.accepted], step.tokens[~step.accepted])


def test_it_stops_when_every_text_has_ended(model) -> None:
    model.module.generation_config.eos_token_id = list(range(96))
    assert len(run(model, ["w1", "w2"])) == 1


def test_an_empty_prompt_starts_with_the_start_token(model) -> None:
    assert run(model, [""], length=4)[0].tokens[0, 0] == 1
    model.tokenizer.eos_token = None
    with pytest.raises(ModelProblem, match="no start token"):
        build_canvas(model, [""], 4)


def test_a_full_canvas(model) -> None:
    with pytest.raises(InvalidInput, match="The prompt fills all 2 tokens"):
        run(model, ["w1 w2"], length=2)


def test_no_forward_is_observed(model) -> None:
    seen = []
    model.module.register_forward_hook(lambda *_: seen.append(model.observed))
    run(model, ["w1"], length=4)
    assert seen and not any(seen)
