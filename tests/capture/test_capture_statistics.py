"""The chunked reduction against the definitions written out in float64, and its memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sap_core.attention import attention_rows as rows_module
from sap_core.attention.attention_rows import Attention
from sap_core.attention.row_statistics import layer_statistics, prefix_statistics


def plain_map(inputs):
    """(batch, heads, S, S) softmax of one layer, by the book."""
    groups = inputs.query.shape[1] // inputs.key.shape[1]
    key = inputs.key.double().repeat_interleave(groups, 1)
    logits = inputs.query.double() @ key.transpose(-1, -2) * inputs.scale
    if inputs.softcap is not None:
        logits = inputs.softcap * torch.tanh(logits / inputs.softcap)
    size = logits.shape[-1]
    if inputs.causal:
        logits = logits.masked_fill(torch.ones(size, size, dtype=torch.bool).triu(1), -torch.inf)
    if inputs.mask is not None:
        bias = inputs.mask.double() if inputs.mask.is_floating_point() else torch.zeros(()).double()
        logits = logits + bias
        if inputs.mask.dtype == torch.bool:
            logits = logits.masked_fill(~inputs.mask, -torch.inf)
    return torch.softmax(logits, -1)


def by_definition(attention, valid, masked):
    weight = valid.double() / valid.sum(1, keepdim=True)
    place = torch.arange(attention.shape[-1])
    entropy = -torch.special.xlogy(attention, attention).sum(-1)
    distance = (attention * (place[:, None] - place).abs()).sum(-1)
    return {
        "received": torch.einsum("bi,bhij->bhj", weight, attention),
        "received_masked": torch.einsum("bi,bhij->bhj", weight * masked, attention),
        "entropy": torch.einsum("bi,bhi->bh", weight, entropy),
        "distance": torch.einsum("bi,bhi->bh", weight, distance),
    }


def random_inputs(batch=2, heads=4, kv=2, size=37, width=8, sharpness=2.0, **options):
    torch.manual_seed(0)
    query = torch.randn(batch, size, heads, width).transpose(1, 2) * sharpness  # the strides a model gives
    key = torch.randn(batch, size, kv, width).transpose(1, 2) * sharpness
    return Attention(query, key, width**-0.5, **options)


def masks(size=37):
    torch.manual_seed(1)
    visible = torch.rand(2, 1, size, size) < 0.6
    visible |= torch.eye(size, dtype=torch.bool)
    bias = torch.randn(2, 4, size, size)
    return {
        "none": {},
        "causal": {"causal": True},
        "bool": {"mask": visible},
        "bool, one for all": {"mask": visible[:1]},
        "float per head": {"mask": bias},
        "float with blocked keys": {"mask": torch.where(visible, 0.0, torch.finfo(torch.float32).min)},
        "soft cap": {"softcap": 5.0},
    }


@pytest.mark.parametrize("kind", masks())
@pytest.mark.parametrize("chunk", [8, 128])
def test_statistics_are_their_definitions(kind, chunk, monkeypatch):
    monkeypatch.setattr(rows_module, "CPU_NUMBERS", 3 * chunk * 37)  # several pieces of heads, too
    inputs = random_inputs(**masks()[kind])
    valid = torch.ones(2, 37, dtype=torch.bool)
    valid[1, :5] = False
    masked = torch.rand(2, 37) < 0.5
    found = layer_statistics(inputs, valid, masked, chunk)
    for name, expected in by_definition(plain_map(inputs), valid, masked).items():
        torch.testing.assert_close(getattr(found, name).double(), expected, atol=1e-6, rtol=1e-6, msg=name)


def test_sharp_attention_keeps_its_precision():
    """Logits of several hundred: entropies near 0 must not drown in their rounding."""
    inputs = random_inputs(sharpness=30.0)
    everyone = torch.ones(2, 37, dtype=torch.bool)
    found = layer_statistics(inputs, everyone, everyone)
    exact = by_definition(plain_map(inputs), everyone, everyone)
    assert exact["entropy"].min() < 0.05
    torch.testing.assert_close(found.entropy.double(), exact["entropy"], atol=2e-5, rtol=0)
    torch.testing.assert_close(found.received.double(), exact["received"], atol=2e-5, rtol=0)


def test_half_precision_inputs_are_reduced_in_float32():
    inputs = random_inputs()
    half = Attention(inputs.query.bfloat16(), inputs.key.bfloat16(), inputs.scale)
    everyone = torch.ones(2, 37, dtype=torch.bool)
    found = layer_statistics(half, everyone, ~everyone)
    exact = by_definition(plain_map(half), everyone, ~everyone)
    assert found.received.dtype == torch.float32
    torch.testing.assert_close(found.received.double(), exact["received"], atol=1e-6, rtol=1e-6)
    assert (found.received_masked == 0).all()


def test_a_sample_without_valid_queries_is_zero():
    nobody = torch.zeros(2, 37, dtype=torch.bool)
    found = layer_statistics(random_inputs(), nobody, nobody)
    assert (found.received == 0).all() and (found.entropy == 0).all() and (found.distance == 0).all()


@pytest.mark.parametrize("first", [1, 5, 37])
def test_prefixes_are_means_of_the_first_rows(first):
    inputs = random_inputs(causal=True)
    attention = plain_map(inputs)
    found = prefix_statistics(inputs, first, chunk=8)
    assert found.received.shape == (2, 37 - first + 1, 4, 37)
    for index, length in enumerate(range(first, 38)):
        prefix = torch.arange(37)[None].expand(2, -1) < length
        exact = by_definition(attention, prefix, ~prefix)
        torch.testing.assert_close(found.received[:, index].double(), exact["received"], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(found.entropy[:, index].double(), exact["entropy"], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(found.distance[:, index].double(), exact["distance"], atol=1e-6, rtol=1e-6)
    assert (found.received[0, 0, :, first:] == 0).all(), "what is not written yet receives nothing"


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for part in result if isinstance(result, (list, tuple)) else (result,):
            if isinstance(part, torch.Tensor):
                self.numbers = max(self.numbers, part.numel())
        return result


def largest_tensor(size):
    inputs = random_inputs(batch=1, heads=2, kv=2, size=size, width=4)
    everyone = torch.ones(1, size, dtype=torch.bool)
    with Largest() as largest:
        layer_statistics(inputs, everyone, everyone, chunk=64)
    return largest.numbers


def test_memory_grows_with_the_length_not_its_square(monkeypatch):
    monkeypatch.setattr(rows_module, "CPU_NUMBERS", 1)
    sizes = [largest_tensor(size) for size in (256, 512, 1024)]
    assert sizes == [64 * 256, 64 * 512, 64 * 1024], "one head, one chunk of queries, all keys"


@pytest.mark.parametrize("kind", masks())
@pytest.mark.parametrize("stride", [2, 5, 50])
def test_sampled_queries_are_the_mean_over_every_nth(kind, stride):
    inputs = random_inputs(**masks()[kind])
    valid = torch.ones(2, 37, dtype=torch.bool)
    valid[0, 30:] = False
    masked = torch.rand(2, 37) < 0.5
    found = layer_statistics(inputs, valid, masked, chunk=4, stride=stride)
    chosen = torch.zeros_like(valid)
    chosen[:, min(stride // 2, 36) :: stride] = True
    for name, expected in by_definition(plain_map(inputs), valid & chosen, masked).items():
        torch.testing.assert_close(getattr(found, name).double(), expected, atol=1e-6, rtol=1e-6, msg=name)
