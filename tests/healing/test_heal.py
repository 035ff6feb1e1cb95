"""Healing: a tiny model recovers, zeros stay zero, nothing held out is learned from, interruptions change nothing."""

from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import save_tiny_llama

import sap_core as sap
from sap_core.cli import main
from sap_core.errors import Cancelled, InvalidInput
from sap_core.evaluation.splits import split_texts
from sap_core.healing.moving_mask import group_of, moved, share_at
from sap_core.healing.training import batch_at
from sap_core.specs import HealSpec
from sap_core.texts.source import TextSource

SETTINGS = {"steps": 40, "batch": 8, "check_every": 20, "learning_rate": 5e-3, "held_out": 8}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """120 texts of a chain of words, a third of them twice."""
    draw = random.Random(0)
    lines = []
    for _ in range(80):
        word = draw.randrange(92)
        line = []
        for _ in range(draw.choice((12, 16))):
            line.append(f"w{word}")
            word = (3 * word + draw.choice((1, 2))) % 92
        lines.append(" ".join(line))
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(lines + lines[:40]))
    return str(path)


@pytest.fixture(scope="module")
def dense(tiny_diffusion):
    return sap.load_model(str(tiny_diffusion))


@pytest.fixture(scope="module")
def half(dense):
    return sap.prune(dense, method="magnitude", sparsity=0.6).model


def matrices(model):
    return {name: module.weight for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}


def gain(healed) -> float:
    """The share of what pruning cost, in KL on texts that nothing was learned from, that came back."""
    return 1 - healed.quality["kl"]["nats_per_token"] / healed.quality["before"]["kl"]["nats_per_token"]


@pytest.mark.parametrize("train", ["weights", "norms", "lora"])
def test_a_pruned_model_recovers_and_its_zeros_stay(dense, half, texts, train):
    before = {name: weight.clone() for name, weight in matrices(half).items()}
    rate = {"learning_rate": 2e-2} if train != "weights" else {}
    healed = sap.heal(half, dense, text=texts, train=train, **SETTINGS | rate)
    assert gain(healed) > {"weights": 0.4, "norms": 0.05, "lora": 0.3}[train]
    after = matrices(healed.model)
    for name, weight in before.items():
        assert bool((after[name][weight == 0] == 0).all()), name
        assert torch.equal(matrices(half)[name], weight), "the model that came was changed"
        assert torch.equal(after[name], weight) == (train == "norms")
    new, old = (dict(model.module.named_parameters()) for model in (healed.model, half))
    assert set(new) == set(old)
    assert torch.equal(new["model.embed_tokens.weight"], old["model.embed_tokens.weight"])
    assert torch.equal(new["model.norm.weight"], old["model.norm.weight"]) == (train == "lora")


def test_a_causal_model_in_16_bits_recovers(tiny_causal, texts):
    dense = sap.load_model(str(tiny_causal), dtype="bfloat16")
    half = sap.prune(dense, method="magnitude", sparsity=0.6).model
    healed = sap.heal(half, dense, text=texts, **SETTINGS)
    assert gain(healed) > 0.2 and healed.quality["pruned"]["likelihood"]["kind"] == "exact"
    assert {parameter.dtype for parameter in healed.model.module.parameters()} == {torch.bfloat16}
    for name, weight in matrices(half).items():
        assert bool((matrices(healed.model)[name][weight == 0] == 0).all())


def test_zeros_move_within_their_pattern_and_stay_as_many(dense, texts):
    for pattern, group in (("unstructured", 0), ("2:4", 4)):
        sparse = sap.prune(dense, method="magnitude", sparsity=0.5, pattern=pattern).model
        healed = sap.heal(sparse, dense, text=texts, moving_mask=True, move_every=5, move_share=0.3, **SETTINGS)
        assert gain(healed) > 0.2
        other = 0
        for name, weight in matrices(sparse).items():
            new = matrices(healed.model)[name]
            assert int((new == 0).sum()) >= int((weight == 0).sum()) and group_of(weight != 0) == group
            assert group == 0 or int((new.unflatten(1, (-1, 4)) != 0).sum(-1).max()) <= 2
            other += int(((new != 0) & (weight == 0)).sum())
        assert other > 0


def test_drop_and_grow_by_hand():
    weight = torch.tensor([[4.0, 0.0, 1.0, 0.0], [0.0, 3.0, 0.0, 2.0]])
    gradient = torch.tensor([[9.0, 0.5, 9.0, 0.1], [0.7, 9.0, 0.2, 9.0]])
    mask = weight != 0
    # 2:4: the smallest live weight of the first row (1.0) goes, its zero of the largest gradient (0.5) comes.
    assert moved(mask, weight, gradient, 0.25).tolist() == [[True, True, False, False], [False, True, False, True]]
    # Without groups (5 inputs): 2 of 4 go, and the two largest gradients among the zeros (0.7, 0.5) come.
    wide = [torch.cat([each, torch.zeros(2, 1)], 1) for each in (weight, gradient)]
    result = moved(wide[0] != 0, *wide, 0.5)
    assert result.tolist() == [[True, True, False, False, False], [True, True, False, False, False]]
    assert share_at(0, 100, 0.3) == pytest.approx(0.3) and share_at(75, 100, 0.3) == 0


def test_no_text_that_is_held_out_is_learned_from(dense, texts):
    split = split_texts(dense, TextSource(texts, "text"), samples=1000, held_out=8, seed=3)
    parts = [{row.tokens.tobytes() for row in part.rows} for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in parts] == [64, 8, 8] and len(set.union(*parts)) == 80
    assert [len(part.rows) for part in (split.train, split.validation, split.test)] == [64, 8, 8]
    lengths = tuple(len(row.tokens) for row in split.train.rows)
    seen = [i for step in range(8) for i in batch_at(step, lengths, 8, 0)]
    assert sorted(seen) == list(range(64)), "an epoch uses each text once"


@pytest.mark.slow
def test_interrupted_it_goes_on_and_the_checkpoint_is_as_if_it_had_not_been(dense, half, texts, tmp_path):
    sap.export_checkpoint(sap.prune(dense, method="magnitude", sparsity=0.6), tmp_path / "half", verify=False)
    options = {"text": texts, "verify": False, **SETTINGS}
    whole = sap.heal(str(tmp_path / "half"), dense, out=tmp_path / "whole", **options)

    def stop(progress):
        if progress.stage == "heal" and progress.done == 33:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        sap.heal(str(tmp_path / "half"), dense, out=tmp_path / "parts", progress=stop, **options)
    assert not (tmp_path / "parts").exists()
    with pytest.raises(InvalidInput, match="another training"):
        sap.heal(str(tmp_path / "half"), dense, out=tmp_path / "parts", **options | {"seed": 1})
    command = ["heal", str(tmp_path / "half"), "--teacher", dense.info.ref, "--text", texts, "--out"]
    command += [str(tmp_path / "parts"), *(f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items())]
    assert main(command) == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half", "parts", "whole"]
    manifest = json.loads((tmp_path / "parts" / "sap_manifest.json").read_text())
    assert manifest["verification"]["equal"] and manifest["spec"]["method"] == "magnitude"
    assert manifest["healing"]["report"]["weights_sha256"] == whole.report["weights_sha256"]
    card = (tmp_path / "parts" / "README.md").read_text()
    assert "## Healing" in card and "before healing" in card and "sparsity asked | 0.6" in card


def test_what_does_not_fit_is_refused_before_any_work(dense, half, texts, tmp_path):
    other = sap.load_model(str(save_tiny_llama(tmp_path / "causal", causal=True)))
    few = tmp_path / "few.txt"
    few.write_text("w1 w2\n" * 30)
    for fields, said in (
        ({"teacher": other, "text": texts}, "objective"),
        ({"teacher": dense, "text": str(few)}, "1 different texts"),
        ({"teacher": dense}, "no demo stories"),
        ({"teacher": dense, "text": texts, "text_length": 999}, "64 positions"),
        ({"text": texts}, "teacher is missing"),
    ):
        with pytest.raises(InvalidInput, match=said):
            sap.heal(half, **fields)
    with pytest.raises(InvalidInput, match="no zeros"):
        sap.heal(dense, dense, text=texts, moving_mask=True)
    for fields, said in (
        ({"rank": 4}, "rank belongs to train lora"),
        ({"dtype": "int8"}, "quantize after"),
        ({"train": "lora", "moving_mask": True}, "leave one of them out"),
    ):
        with pytest.raises(InvalidInput, match=said):
            HealSpec.build(model="a", teacher="b", **fields)
