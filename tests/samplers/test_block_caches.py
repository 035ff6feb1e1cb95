"""Fast-dLLM's prefix and dual cache (arXiv 2505.22618) against its algorithm written out in plain torch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import GOLDEN, save_tiny_llama
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from chosen import mostly_slow
from plain_decoder import PlainDecoder

from sap_core.attention.recorder import record_attention
from sap_core.capturing.api import capture
from sap_core.capturing.attention_map import attention_map
from sap_core.errors import InvalidInput
from sap_core.models.block_cache import BlockCache
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import canvas_of_ids
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

FOLDERS = {"llada": GOLDEN / "tiny-llada", "dream": GOLDEN / "families" / "dream" / "checkpoint"}
PROMPT, FILL, BLOCK = [7, 11, 5, 23, 9], 16, 8


class CachedDecoder(PlainDecoder):
    """The plain decoder with the keys and values of the last whole pass; grouped queries, no norms of heads."""

    def whole(self, ids: Tensor) -> Tensor:
        self.kept, self.where = {}, torch.arange(ids.shape[1])
        return self(ids)

    def part(self, ids: Tensor, start: int, stop: int) -> Tensor:
        """Rows of the columns from start to stop, which see all kept keys but those that are computed anew."""
        self.where = torch.arange(start, stop)
        return self(ids[:, start:stop])

    def turned(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        base = self.field("rope_theta") or 10000.0
        angles = self.where[:, None] * base ** (-torch.arange(half, dtype=torch.float64) / half)
        sin, cos = angles.sin()[:, None], angles.cos()[:, None]
        left, right = x[..., :half], x[..., half:]
        return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)

    def attention(self, x: Tensor, seen: Tensor) -> Tensor:
        heads = self.field("num_attention_heads", "n_heads")
        q, k, v = (self.linear(x, f"{name}_proj") for name in "qkv")
        width = q.shape[-1] // heads
        q, k, v = (part.unflatten(-1, (-1, width)) for part in (q, k, v))
        q, k = self.turned(q), self.turned(k)
        if self.at in self.kept:
            old_k, old_v = (part.clone() for part in self.kept[self.at])
            old_k[:, self.where], old_v[:, self.where] = k, v
            k, v = old_k, old_v
        else:
            self.kept[self.at] = k, v
        k, v = (part.repeat_interleave(heads // part.shape[2], 2) for part in (k, v))
        rows = (torch.einsum("bihd,bjhd->bhij", q, k) / width**0.5).softmax(-1)
        self.rows = rows
        return self.linear(torch.einsum("bhij,bjhd->bihd", rows, v).flatten(2), "o_proj")


def keep(sure: Tensor, still: Tensor, share: int, threshold: float | None) -> Tensor:
    sure = sure.masked_fill(~still, -torch.inf)
    chosen = torch.zeros_like(still)
    chosen[0, sure[0].topk(1 if threshold else share).indices] = True
    return chosen | (sure >= threshold) if threshold else chosen


def llada(model: CachedDecoder, mask: int, *, dual: bool, steps: int, threshold: float | None = None) -> Tensor:
    """At each block's start the whole canvas, then the part of it; even shares or all that is sure."""
    ids = torch.tensor([PROMPT + [mask] * FILL])
    rounds = steps // (FILL // BLOCK)
    shares = [BLOCK // rounds + (i < BLOCK % rounds) for i in range(rounds)]
    for start in range(len(PROMPT), ids.shape[1], BLOCK):
        stop = start + BLOCK
        for i, share in enumerate(shares):
            first, last = (start, stop if dual else ids.shape[1]) if i else (0, ids.shape[1])
            logits = model.part(ids, first, last) if i else model.whole(ids)
            best = logits.softmax(-1).max(-1)
            columns = torch.arange(first, last)
            still = (ids[:, first:last] == mask) & (columns >= start) & (columns < stop)
            if not still.any():
                break
            chosen = keep(best.values, still, min(share, int(still.sum())), threshold)
            ids[:, first:last] = torch.where(chosen, best.indices, ids[:, first:last])
    return ids


def dream(model: CachedDecoder, mask: int, *, dual: bool, steps: int, threshold: float | None = None) -> Tensor:
    """Rows predict the next token: a block's first step writes its first token alone; then by entropy, or all that
    is sure, from rows shifted within the part."""
    ids = torch.tensor([PROMPT + [mask] * FILL])
    rounds = steps // (FILL // BLOCK)
    line = torch.linspace(1, 1e-3, rounds + 1)
    for start in range(len(PROMPT), ids.shape[1], BLOCK):
        stop = start + BLOCK
        ids[0, start] = model.whole(ids)[0, start - 1].argmax()
        last = stop if dual else ids.shape[1]
        for i in range(1, rounds):
            logits = model.part(ids, start, last)
            logits = torch.cat([logits[:, :1], logits[:, :-1]], 1)
            still = ids[:, start:last] == mask
            still[:, BLOCK:] = False
            if not still.any():
                break
            shares = logits.softmax(-1)
            best = shares.max(-1)
            if threshold:
                chosen = keep(best.values, still, 1, threshold)
            else:
                score = (shares * (shares + 1e-10).log()).sum(-1).masked_fill(~still, -torch.inf)
                opens = 1 - line[i + 1] / line[i] if i < rounds - 1 else torch.tensor(1.0)
                chosen = torch.zeros_like(still)
                chosen[0, score[0].topk(int(still.sum() * opens)).indices] = True
            ids[:, start:last] = torch.where(chosen, best.indices, ids[:, start:last])
    return ids


CASES = [("llada", "low_confidence", 8, None), ("llada", "low_confidence", 12, None),
         ("llada", "confidence_threshold", 16, 0.05), ("dream", "entropy", 8, None),
         ("dream", "confidence_threshold", 16, 0.05)]  # fmt: skip


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize(("family", "sampler", "steps", "threshold"), mostly_slow(CASES))
def test_generations_equal_the_algorithm(
    family: str, sampler: str, steps: int, threshold: float | None, cache: str
) -> None:
    model = load_model(str(FOLDERS[family]), device="cpu")
    plain, loop = CachedDecoder(FOLDERS[family]), llada if family == "llada" else dream
    mask = model.check_masked()
    expected = loop(plain, mask, dual=cache == "dual", steps=steps, threshold=threshold)
    given = ({"threshold": threshold} if threshold else {}) | ({"top_k": 0} if family == "dream" else {})
    options = SamplingOptions.build(
        length=len(PROMPT) + FILL, steps=steps, block_length=BLOCK, sampler=sampler, cache=cache, **given
    )
    *_, last = sample(model, canvas_of_ids(model, [PROMPT], options.length), options)
    assert torch.equal(last.next_tokens.cpu(), expected)
    assert not (last.next_tokens == mask).any()


@pytest.mark.parametrize("family", FOLDERS)
def test_a_part_is_computed_from_what_was_kept(family: str) -> None:
    """Logits and recorded attention of a step, by hand; and with nothing changed since, those of the whole canvas."""
    model, plain = load_model(str(FOLDERS[family]), device="cpu"), CachedDecoder(FOLDERS[family])
    ids = torch.tensor([PROMPT + [model.check_masked()] * FILL])
    for kind, last in (("prefix", 21), ("dual", 13)):
        cache = BlockCache(model, kind)
        whole, written = cache.whole(ids), ids.clone()
        torch.testing.assert_close(whole, model.logits(ids), atol=1e-5, rtol=1e-5)
        same = cache.part(ids, 5, 13)
        torch.testing.assert_close(same[:, 1:], whole[:, 6:last], atol=1e-4, rtol=1e-4)
        written[0, 6:9] = torch.tensor([3, 4, 5])
        with record_attention(model) as recorder:
            found = cache.part(written, 5, 13)
            received = recorder.collect().received[0, -1]
        plain.whole(ids)
        expected = plain.part(written, 5, last)
        if model.info.shift_logits:
            expected = torch.cat([expected[:, :1], expected[:, :-1]], 1)
        torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(received.double(), plain.rows[0].mean(1), atol=1e-5, rtol=1e-4)
        assert model.window is None


def test_a_capture_with_a_cache_says_so(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "model", causal=False)
    options = {"length": 12, "steps": 6, "block_length": 4}
    run = capture(str(folder), "w1 w2 w3 w4", cache="dual", out=tmp_path / "run", device="cpu", **options)
    assert run.spec["cache"] == "dual" and run.trajectory.attrs["cache"] == "dual"
    received = run.trajectory["received"].values
    np.testing.assert_allclose(received.sum(-1), 1, atol=1e-5)
    plain = capture(str(folder), "w1 w2 w3 w4", out=tmp_path / "plain", device="cpu", **options)
    assert not plain.trajectory.attrs.get("cache")
    np.testing.assert_allclose(received[0], plain.trajectory["received"].values[0], atol=1e-5)
    assert not np.allclose(received[1], plain.trajectory["received"].values[1], atol=1e-4)
    with pytest.raises(InvalidInput, match="made with cache dual, whose keys and values it does not store"):
        attention_map(load_model(str(folder), device="cpu"), run, step=1, layer=0)


@pytest.mark.parametrize(
    ("fields", "prompts", "words"),
    [
        ({"guidance": 1.0}, ["w1 w2"], "has no guidance"),
        ({"sampler": "mdlm"}, ["w1 w2"], "looks beyond its block; use low_confidence"),
        ({}, ["w1 w2", "w1"], "needs prompts of one length"),
        ({}, ["w1 <mask> w2"], "fills no masks inside a prompt"),
        ({"cache": "both"}, ["w1"], "cache is 'both'"),
    ],
)
def test_what_a_cache_can_not_do(fields: dict, prompts: list[str], words: str, tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "model", causal=False)
    given = {"cache": "prefix", "length": 12, "steps": 4, "device": "cpu"} | fields
    with pytest.raises(InvalidInput, match=words):
        capture(str(folder), prompts=prompts, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_causal_and_block_causal_models_have_no_such_cache(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="works for whole-canvas models"):
        capture(str(GOLDEN / "families" / "sdar" / "checkpoint"), "w1", cache="dual", length=12, out=tmp_path / "a")
    folder = save_tiny_llama(tmp_path / "causal", causal=True)
    with pytest.raises(InvalidInput, match="works for whole-canvas models"):
        capture(str(folder), "w1", cache="prefix", length=12, out=tmp_path / "b")
