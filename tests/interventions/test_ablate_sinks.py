"""Blocked sinks: against a plain decoder whose rows are written out, and a run that is stopped and gone on with."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sap_core.attention.attention_rows import Attention
from sap_core.attention.blocking import blocked_attention
from sap_core.choices.sink_rules import SinkRule
from sap_core.errors import Cancelled, InvalidInput
from sap_core.evaluation.comparison import continuations
from sap_core.evaluation.likelihood import text_likelihood
from sap_core.evaluation.texts import evaluation_texts
from sap_core.interventions.ablated import ablated
from sap_core.interventions.selection import Choice, blocked_positions
from sap_core.interventions.sinks import ablate_sinks
from sap_core.models.loading import load_model
from sap_core.runs.reading import open_run
from sap_core.texts.source import TextSource

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from plain_decoder import PlainDecoder
from tiny_families import made

TOP = 2


class BlockedDecoder(PlainDecoder):
    """A plain decoder that reads the sinks of its heads in one pass and leaves them out, row by row, in the next."""

    def __init__(self, *args, causal: bool, what: str, **kwargs):
        super().__init__(*args, **kwargs)
        self.causal, self.what, self.sinks = causal, what, {}

    def logits(self, ids):
        self.sinks, self.blocking = {}, False
        intact = self(ids)
        self.blocking = True
        return intact, self(ids)

    def attention(self, x, seen):
        if self.causal:
            seen = seen & torch.ones_like(seen).tril()
        q, k, v = self.projected(x)
        heads, width = q.shape[2:]
        shared = heads // k.shape[2]
        out = torch.zeros_like(q)
        for b in range(len(x)):
            for h in range(heads):
                scores = [
                    [float(q[b, i, h] @ k[b, j, h // shared]) / math.sqrt(width) if seen[i, j] else -math.inf
                     for j in range(x.shape[1])]
                    for i in range(x.shape[1])
                ]  # fmt: skip
                rows = torch.tensor(scores, dtype=torch.float64).softmax(-1)
                if not self.blocking:
                    self.sinks[self.at, b, h] = rows.mean(0).argsort(descending=True, stable=True)[:TOP].tolist()
                for i, row in enumerate(rows if self.blocking else ()):
                    left = row.clone()
                    left[self.sinks[self.at, b, h]] = 0
                    if self.what == "values":
                        rows[i] = left
                    elif left.sum() > 0:
                        rows[i] = left / left.sum()
                out[b, :, h] = rows @ v[b, :, h // shared]
        return self.linear(out.flatten(2), "o_proj")


@pytest.mark.parametrize(
    ("family", "what"),
    [("llada", "scores"), ("dream", "scores"), ("sdar", "scores"), ("causal-llama", "scores"), ("dream", "values"),
     ("causal-llama", "values")],
)  # fmt: skip
def test_the_logits_are_those_of_a_plain_decoder_without_its_sinks(tmp_path, family, what):
    model = load_model(str(made(family, tmp_path / "m")))
    model.module.double()
    causal = not model.is_diffusion
    plain = BlockedDecoder(tmp_path / "m", model.info.block_size, causal=causal, what=what)
    ids = torch.tensor([[5, 2, 40, 8, 2, 61, 7, 33], [9, 11, 2, 2, 70, 17, 21, 4]])
    before, expected = plain.logits(ids)
    if model.info.shift_logits:
        before, expected = (torch.cat([part[:, :1], part[:, :-1]], 1) for part in (before, expected))
    intact = model.logits(ids)
    with ablated(model, what=what) as twin:
        twin.choice = Choice("sinks", TOP)
        found = twin.logits(ids)
    torch.testing.assert_close(intact, before, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert (found - intact).abs().max() > 1e-3
    assert torch.equal(model.logits(ids), intact)  # the model itself was not changed


@pytest.mark.parametrize("family", ["native-diffusion", "bert", "modernbert", "a2d-blocks", "llada-moe", "causal-gpt2"])
def test_no_sink_blocked_is_the_model_bit_for_bit(tmp_path, family):
    model = load_model(str(made(family, tmp_path)))
    rows = evaluation_texts(model, None, samples=2, seed=0).rows
    texts, losses = continuations(model, rows), text_likelihood(model, rows, draws=2, seed=0)
    with ablated(model) as twin:
        blocked = Choice("sinks", 0)
        twin.choice = blocked
        assert continuations(twin, rows) == texts
        assert (text_likelihood(twin, rows, draws=2, seed=0).nats == losses.nats).all()
        intact, received = twin.look(torch.from_numpy(rows[0].tokens)[None].to(model.device), None)
        none = torch.zeros(received.shape, dtype=torch.bool)
        assert torch.equal(twin.run(torch.from_numpy(rows[0].tokens)[None], None, none), intact)
        twin.choice = Choice("sinks", 1)
        assert (text_likelihood(twin, rows, draws=2, seed=0).nats != losses.nats).all()


@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float"])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_blocked_attention_is_its_formula(mask, softcap):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 6, 8, dtype=torch.float64) for heads in (4, 2, 2))
    visible = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    if mask == "causal":
        visible = visible.tril()
    elif mask != "none":
        visible = torch.rand(2, 1, 6, 6) < 0.7
        visible |= torch.eye(6, dtype=torch.bool)
    given = {"bool": visible, "float": torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)}
    inputs = Attention(query, key, 0.3, given.get(mask), mask == "causal", softcap)
    blocked = torch.rand(2, 4, 6) < 0.4
    found = blocked_attention(inputs, value, blocked)
    for b, h, i in np.ndindex(2, 4, 6):
        keys = [j for j in range(6) if visible[b, 0, i, j]]
        keys = [j for j in keys if not blocked[b, h, j]] or keys
        scores = torch.stack([query[b, h, i] @ key[b, h // 2, j] * 0.3 for j in keys])
        scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
        expected = scores.softmax(0) @ torch.stack([value[b, h // 2, j] for j in keys])
        torch.testing.assert_close(found[b, h, i], expected, atol=1e-6, rtol=1e-6)


def test_controls_are_as_many_others_and_others_of_equal_mass():
    torch.manual_seed(0)
    received = torch.rand(3, 2, 4, 20).softmax(-1)
    received[..., 7] += 0.5
    received /= received.sum(-1, keepdim=True)
    valid = torch.ones(3, 20, dtype=torch.bool)
    valid[0, 16:] = False
    received[0, :, :, 16:] = 0
    order = torch.rand(received.shape)
    sinks, random, mass = (
        blocked_positions(received, valid, Choice(kind, 3), order) for kind in ("sinks", "random", "mass")
    )
    assert sinks[..., 7].all() and (sinks.sum(-1) == 3).all() and (random.sum(-1) == 3).all()
    assert not (sinks & random).any() and not (sinks & mass).any() and not (mass & ~valid[:, None, None]).any()
    assert (random <= mass).all()  # one order of positions for both, and others receive less than sinks
    inside, wanted = (received * mass).sum(-1), (received * sinks).sum(-1)
    rest = (received * ~sinks).sum(-1)
    assert (inside >= torch.minimum(wanted, rest) - 1e-6).all()
    last = received.masked_fill(~mass, 0).amax(-1)
    assert (inside <= wanted + last + 1e-6).all()


def _strip(result: dict) -> str:
    return json.dumps({key: value for key, value in result.items() if key not in ("run", "path")}, sort_keys=True)


def test_a_stopped_measurement_goes_on_and_is_the_same(tiny_diffusion, tmp_path):
    fields = {"top": (0, 2), "samples": 3, "draws": 2, "generate": 2, "parts": 2, "by": "run", "each_head": True}
    whole = ablate_sinks(str(tiny_diffusion), out=tmp_path / "whole", **fields)
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == 33:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        ablate_sinks(str(tiny_diffusion), out=tmp_path / "part", progress=stop, **fields)
    assert open_run(tmp_path / "part", unfinished=True).state == "cancelled"
    with pytest.raises(InvalidInput, match="other settings"):
        ablate_sinks(str(tiny_diffusion), out=tmp_path / "part", **fields | {"top": (0, 1)})
    done = ablate_sinks(str(tiny_diffusion), out=tmp_path / "part", **fields)
    assert _strip(done.result) == _strip(whole.result)
    none, *others = whole.result["conditions"]
    assert none["difference"]["nats_per_token"] == 0 and none["kl"]["nats_per_token"] == 0
    assert none["agreement"]["same_tokens"] == 1
    assert [(one["kind"], one["top"]) for one in others[:3]] == [("sinks", 2), ("random", 2), ("mass", 2)]
    assert all(one["kl"]["nats_per_token"] > 0 for one in others)
    assert len(others) == 3 + 2 * 12 and len(whole.result["parts"]) == 6


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"top": (0, 40)}, "top is 40"), ({"heads": ((9, 0),)}, "head 9.0 does not exist"), ({"tasks": True}, "tasks"),
     ({"top": (0,)}, "top is '0'"), ({"threshold": 1.0}, "no rule")],
)  # fmt: skip
def test_what_can_not_be_measured_is_refused_before_anything_is_written(tiny_diffusion, tmp_path, fields, told):
    with pytest.raises(InvalidInput, match=told):
        ablate_sinks(str(tiny_diffusion), out=tmp_path / "run", **{"samples": 2, **fields})
    assert not (tmp_path / "run").exists()


def test_a_rule_blocks_only_what_it_calls_a_sink(tiny_causal, tmp_path):
    model = load_model(str(tiny_causal))
    rows = evaluation_texts(model, TextSource("demo"), samples=2, seed=0).rows
    tokens = torch.from_numpy(rows[0].tokens)[None]
    with ablated(model, rule=SinkRule("rate", 0.3)) as twin:
        _, received = twin.look(tokens, None)
        order = torch.rand(received.shape)
        found = twin.choose(received, torch.ones_like(tokens, dtype=torch.bool), Choice("sinks", 3), order)
    size = tokens.shape[1]
    seen = torch.arange(size, 0, -1)
    sinks = (received * size > 0.3 * seen) & (seen >= 8)
    assert ((found & ~sinks).sum() == 0) and (found.sum(-1) == sinks.sum(-1).clamp(max=3)).all()
