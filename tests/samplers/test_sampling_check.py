"""Settings that do not fit are refused before any forward pass; defaults are filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sap_core.choices.samplers import SAMPLERS
from sap_core.errors import InvalidInput
from sap_core.models.inspection import inspect_model
from sap_core.samplers.check import check_sampling, default_steps, share_steps
from sap_core.specs import SamplingOptions


def check(folder: Path, fill: int = 20, **fields: object):
    return check_sampling(inspect_model(str(folder)), SamplingOptions.build(**{"length": 64, **fields}), fill)


def test_defaults(tiny_diffusion: Path, tiny_causal: Path) -> None:
    found = check(tiny_diffusion)
    assert (found.sampler, found.steps, found.block_length) == ("low_confidence", 20, 20)
    assert check(tiny_diffusion, fill=200).steps == 64
    assert check(tiny_causal, fill=200).steps == 200
    assert check(tiny_diffusion, block_length=128).block_length == 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 65}, "length is 65; .* at most 64"),
        ({"steps": 21}, "steps is 21; there are 20 tokens to fill"),
        ({"sampler": "autoregressive"}, "Sampler 'autoregressive' does not fit"),
        ({"block_length": 4, "steps": 4}, "5 blocks of 4"),
        ({"fill": 0}, "The prompt fills all 64 tokens"),
    ],
)
def test_what_does_not_fit_a_diffusion_model(tiny_diffusion: Path, fields: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check(tiny_diffusion, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"guidance": 1.0}, "guidance is 1, but .* autoregressive"),
        ({"block_length": 4}, "block_length belongs to diffusion models"),
        ({"sampler": "random"}, "Sampler 'random' does not fit"),
        ({"steps": 21}, "steps is 21"),
    ],
)
def test_what_does_not_fit_a_causal_model(tiny_causal: Path, fields: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check(tiny_causal, **fields)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps(steps: int) -> None:
    with pytest.raises(InvalidInput, match=f"steps is {steps}; at least 1"):
        SamplingOptions.build(steps=steps)


def test_an_unknown_sampler_lists_the_known() -> None:
    with pytest.raises(InvalidInput, match="Unknown sampler 'low_confidenc'; known: auto, low_confidence, random"):
        SamplingOptions.build(sampler="low_confidenc")


def test_steps_are_shared_as_in_llada_where_blocks_divide() -> None:
    assert share_steps([32] * 4, 64) == [16] * 4 and share_steps([32] * 4, 4) == [1] * 4


@pytest.mark.parametrize("sizes", [[5], [1, 4, 4, 3], [4, 4, 4, 2], [1, 1, 1], [7, 1]])
def test_every_block_gets_a_step_and_none_more_than_it_has_tokens(sizes: list[int]) -> None:
    for steps in range(len(sizes), sum(sizes) + 1):
        shares = share_steps(sizes, steps)
        assert sum(shares) == steps and len(shares) == len(sizes)
        assert all(1 <= share <= size for share, size in zip(shares, sizes, strict=True))


def test_a_threshold_belongs_to_its_rules(tiny_diffusion: Path) -> None:
    assert check(tiny_diffusion, sampler="confidence_threshold").threshold == 0.9
    assert check(tiny_diffusion, sampler="confidence_threshold", threshold=0.5).threshold == 0.5
    with pytest.raises(InvalidInput, match=r"threshold is 0.5, but sampler 'random' has none"):
        check(tiny_diffusion, sampler="random", threshold=0.5)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_estimates_use_the_steps_that_the_sampler_takes(tiny_diffusion, tiny_causal, name):
    rule = SAMPLERS[name]
    info = inspect_model(str(tiny_causal if rule.objective == "autoregressive" else tiny_diffusion))
    info = replace(info, samplers=(name,), max_length=None, block_size=None)
    options = SamplingOptions.build(length=200)
    assert default_steps(info, options, 200) == check_sampling(info, options, 200).steps
    assert default_steps(info, SamplingOptions.build(length=200, steps=7), 200) == 7
