"""The pieces of the training, and the whole of it in miniature: seeded, resumable, atomic."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from demo_training import batches, objectives, train
from demo_training.batches import Batch, batch, token_ids
from demo_training.optimizer import orthogonalize, schedule
from demo_training.parallel import Workers, accumulate_gradients
from torch.nn import functional as F

from sap_core.errors import Cancelled, InvalidInput
from sap_core.stories.tokenizer import build_tokenizer

TINY = {
    name: train.Recipe(steps=4, batch_size=4, muon_lr=4e-3, adam_lr=2e-3, decay_share=0.5)
    for name in (train.AR, train.DIFFUSION)
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return train.train_demo(out, recipes=TINY, report=False)


def test_ids_are_the_tokenizers():
    assert build_tokenizer(add_bos=False).get_vocab() == token_ids()


def test_a_batch_is_a_function_of_seed_and_step():
    a, b = (batch(37, size=4, seed=1, causal=True) for _ in range(2))
    assert np.array_equal(a.tokens, b.tokens)
    assert not np.array_equal(a.tokens, batch(37, size=4, seed=2, causal=True).tokens[:, : a.tokens.shape[1]])


def test_causal_rows():
    tokenizer = build_tokenizer(add_bos=True)
    drawn = batch(5, size=6, seed=0, causal=True)
    for row, length, start in zip(drawn.tokens, drawn.text_length, drawn.task_start, strict=True):
        text = tokenizer.decode(row[:length], skip_special_tokens=True)
        assert tokenizer(text)["input_ids"] == row[:length].tolist()
        assert row[length] == tokenizer.eos_token_id
        assert (row[length + 1 :] == tokenizer.pad_token_id).all()
        tail = tokenizer.decode(row[start:length])
        assert text.endswith(tail) and (tail == "" or text[: -len(tail)].rstrip().endswith(("answer:", "summary:")))


def test_diffusion_canvases():
    sizes = set()
    for step in range(32):
        drawn = batch(step, size=4, seed=0, causal=False)
        sizes.add(drawn.tokens.shape[1])
        for row, length in zip(drawn.tokens, drawn.text_length, strict=True):
            assert (row[length:] == token_ids()["<eos>"]).all() and length < len(row)
    assert sizes <= set(range(128, 257, 32)) and len(sizes) > 2


def test_masks_are_stratified_and_leave_prompts_in_sight():
    rows, length = 64, 128
    drawn = Batch(np.zeros((rows, length), np.int64), np.full(rows, 120), np.full(rows, 120))
    generator = torch.Generator().manual_seed(0)
    shares = torch.stack([objectives.draw_masks(drawn, generator).sum(1) for _ in range(20)]) / length
    assert (shares > 0).all() and shares.max() == 1.0
    assert 0.3 < shares.mean() < 0.5  # 0.5 for whole rows, about a quarter for the prompted ones
    fixed = Batch(np.zeros((rows, length), np.int64), np.full(rows, 120), np.full(rows, 100))
    hidden = torch.cat([objectives.draw_masks(fixed, generator) for _ in range(50)])
    only_tail = hidden[:, 100:].any(1) & ~hidden[:, :100].any(1)
    assert 0.1 < only_tail.float().mean() < 0.3


def test_words_to_look_up_are_masked_more_often_at_a_low_ceiling():
    drawn, generator = batch(3, size=16, seed=0, causal=False), torch.Generator().manual_seed(0)
    known = objectives._kinds()[torch.from_numpy(drawn.tokens)] >= 0

    def ratio(ceiling):
        hidden = torch.stack([objectives.draw_masks(drawn, generator, ceiling, 3.0) for _ in range(20)]).float().mean(0)
        return (hidden[known].mean() / hidden[~known].mean()).item()

    assert 2 < ratio(0.5) < 3.5
    assert ratio(1.0) < 1.15


class Uniform(torch.nn.Module):
    """Predicts every token with the same probability; one parameter, so that it has a gradient."""

    def __init__(self, size):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(size))

    def forward(self, input_ids, use_cache, attention_mask=None):
        out = self.logits.expand(*input_ids.shape, -1)
        return type("Output", (), {"logits": out})


def test_both_losses_of_a_uniform_model_are_ln_v(monkeypatch):
    monkeypatch.setattr(objectives, "TAKEN_WEIGHT", 0.0)
    size = len(token_ids())
    model, generator = Uniform(size), torch.Generator().manual_seed(0)
    with Workers(2) as workers:
        causal = objectives.causal_losses(model, batch(0, size=8, seed=0, causal=True), 0, 2)
        seen = partial(objectives.open_up, model)
        drawn = batch(0, size=8, seed=0, causal=False)
        masked = objectives.masked_losses(seen, drawn, 3, generator, 1.0, 2, taken_weight=0.0)
        for losses in (causal, masked):
            assert accumulate_gradients([model.logits], losses, workers) == pytest.approx(math.log(size), rel=1e-5)


def test_parts_add_up_to_the_whole_gradient():
    model, _ = train.build_model(train.AR)
    drawn = batch(0, size=4, seed=0, causal=True)
    parameters = list(model.parameters())
    with Workers(2) as workers:
        accumulate_gradients(parameters, objectives.causal_losses(model, drawn, 0, 2), workers)
    halves = [p.grad.clone() for p in parameters]
    (whole,) = objectives.causal_losses(model, drawn, 0, 1)
    for half, full in zip(halves, torch.autograd.grad(whole(), parameters), strict=True):
        torch.testing.assert_close(half, full, atol=1e-5, rtol=1e-3)


def test_the_causal_loss_is_the_weighted_mean_over_targets(monkeypatch):
    monkeypatch.setattr(objectives, "TAKEN_WEIGHT", 0.0)
    model, _ = train.build_model(train.AR)
    drawn = batch(0, size=4, seed=0, causal=True)
    alone = Batch(drawn.tokens, drawn.text_length, drawn.text_length)  # no answers to weigh
    tokens = torch.from_numpy(drawn.tokens)
    (loss,) = objectives.causal_losses(model, alone, 0, 1)
    logits = model(input_ids=tokens).logits[:, :-1]
    each = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(4, -1)
    weight = objectives.look_up_weights(tokens, torch.ones_like(tokens, dtype=torch.bool), causal=True)[:, 1:]
    weight = weight * (tokens[:, 1:] != 0)
    assert loss().item() == pytest.approx(((each * weight).sum() / weight.sum()).item(), rel=1e-5)


def test_opening_up_begins_as_the_causal_model_and_ends_as_the_bidirectional_one():
    diffusion, _ = train.build_model(train.DIFFUSION)
    causal, _ = train.build_model(train.AR)
    causal.load_state_dict(diffusion.state_dict())
    tokens = torch.from_numpy(batch(0, size=2, seed=0, causal=False).tokens)
    with torch.no_grad():
        left, both = causal(tokens).logits[:, :-1], diffusion(tokens).logits[:, :-1]
        opened = {share: objectives.open_up(diffusion, tokens, share)[:, 1:] for share in (0.0, 0.5, 1.0)}
    torch.testing.assert_close(opened[0.0], left, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(opened[1.0], both)
    assert 0 < (opened[0.5] - left).abs().max() < (both - left).abs().max()


def test_the_weight_of_what_stands_right_by_hand():
    weight = objectives.future_bias(3, 0.5).exp()
    right = math.exp(-4)
    torch.testing.assert_close(weight, torch.tensor([[1, right, right], [1, 1, right], [1, 1, 1]]))
    assert objectives.future_bias(3, 0.0).exp().triu(1).sum() == 0


def test_steps_look_left_then_open():
    recipe = train.Recipe(
        steps=9, batch_size=1, muon_lr=1e-3, adam_lr=1e-3, decay_share=0.5, causal_steps=4, opening_steps=2
    )
    assert [train._openness(step, recipe) for step in range(9)] == [0, 0, 0, 0, 0, 0.5, 1, 1, 1]
    assert [round(train._first_masks(step, recipe), 2) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1, 1]
    assert train._openness(0, TINY[train.DIFFUSION]) == train._first_masks(0, TINY[train.DIFFUSION]) == 1


def test_look_up_weights_by_hand():
    ids = token_ids()
    row = torch.tensor([[ids[w] for w in ("tom", "the", "red", "ball", "the", "red", "tom")]])
    everything = torch.ones_like(row, dtype=torch.bool)
    name, colour = objectives.LOOK_UP_WEIGHT["NAME"], objectives.LOOK_UP_WEIGHT["COLOUR"]
    left_to_right = objectives.look_up_weights(row, everything, causal=True)
    assert left_to_right.tolist() == [[1, 1, 1, 1, 1, colour, name]]
    only_first_red = torch.tensor([[False, True, True, False, True, False, False]])
    both_ways = objectives.look_up_weights(row, only_first_red, causal=False)
    assert both_ways.tolist() == [[1, 1, colour, 1, 1, colour, 1]]


def test_taken_words_by_hand():
    ids = token_ids()
    story = "anna had a red ball . tom had a blue ball . anna gave tom the blue ball".split()
    row = torch.tensor([[ids[word] for word in story]])
    introduced, taken = objectives.taken_words(row, torch.ones_like(row, dtype=torch.bool))
    assert [story[i] for i in introduced[0].nonzero().flatten()] == ["tom", "blue"]  # the second of a kind, once
    assert [[w for w, i in ids.items() if line[i]] for line in taken] == [["anna"], ["red"]]
    visible = torch.tensor([[word != "anna" and word != "tom" for word in story]])
    introduced, taken = objectives.taken_words(row, visible)
    assert not introduced.any()  # tom is out of sight, but so is who else was named; blue is in sight
    visible = torch.tensor([[word != "tom" for word in story]])
    introduced, taken = objectives.taken_words(row, visible)
    assert [story[i] for i in introduced[0].nonzero().flatten()] == ["tom"]


def test_a_taken_word_costs_what_the_formula_says():
    taken = torch.tensor([[True, False, False, True]])
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.3, 0.2]]))
    expected = -math.log(1 - 0.3)
    assert objectives._unlikelihood(logits, taken).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8), (1, 16, 16)])
def test_orthogonalize(shape):
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert values.max() < 1.3 and values.median() > 0.6


def test_schedule_by_hand():
    assert schedule(0, 100, warmup=10, decay_share=0.5) == pytest.approx(0.1)
    assert schedule(30, 100, warmup=10, decay_share=0.5) == 1.0
    assert schedule(75, 100, warmup=10, decay_share=0.5) == pytest.approx(0.5)
    assert schedule(99, 100, warmup=10, decay_share=0.5) == pytest.approx(0.02)


def test_both_models_load_with_stock_classes(trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name, folder in trained.items():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("once there was a girl named mia", return_tensors="pt")["input_ids"]
        other = ids.clone()
        other[0, -1] = 9
        with torch.no_grad():
            reached = (model(ids).logits[0, 0] - model(other).logits[0, 0]).abs().max() > 1e-6
        assert bool(reached) == (name == train.DIFFUSION)
        assert 2.5e6 < model.num_parameters() < 3.5e6
    config = json.loads((trained[train.DIFFUSION] / "config.json").read_text())
    assert (config["is_causal"], config["mask_token_id"], config["sap_objective"]) == (False, 3, "masked_diffusion")
    assert config["sap_shift_logits"] is True
    config = json.loads((trained[train.AR] / "config.json").read_text())
    assert config["sap_objective"] == "autoregressive" and "mask_token_id" not in config


def test_the_log_lies_beside_the_weights(trained):
    for name, folder in trained.items():
        head, *lines = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
        assert head["model"] == name and head["seed"] == 0 and head["steps"] == 4
        assert lines[-1]["step"] == 4 and lines[-1]["loss"] > 0 and lines[-1]["seconds"] > 0


def test_stopping_and_going_on_gives_the_same_weights(trained, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    monkeypatch.setattr(train, "_SAVE_EVERY", 2)

    def stop(report):
        if report.done == 3 and report.stage.endswith("diffusion"):
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        train.train_demo(tmp_path, recipes=TINY, progress=stop, report=False)
    assert not (tmp_path / train.DIFFUSION).exists()
    seen = []
    again = train.train_demo(tmp_path, recipes=TINY, progress=seen.append, report=False)
    assert [(r.stage, r.done) for r in seen] == [("train stories-diffusion", 3), ("train stories-diffusion", 4)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [train.AR, train.DIFFUSION]
    for name in again:
        expected = load_file(trained[name] / "model.safetensors")
        for key, found in load_file(again[name] / "model.safetensors").items():
            torch.testing.assert_close(found, expected[key], atol=1e-6, rtol=1e-4)


def test_a_second_cycle_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    monkeypatch.setattr(train, "_SAVE_EVERY", 2)
    cycle = {"batch_size": 4, "muon_lr": 4e-3, "adam_lr": 2e-3, "decay_share": 0.5}
    first = train.Recipe(steps=2, **cycle)
    recipes = {train.AR: first, train.DIFFUSION: train.Recipe(steps=2, then=train.Recipe(steps=3, **cycle), **cycle)}
    whole = train.train_demo(tmp_path / "whole", recipes=recipes, report=False)
    for moment in (2, 3, 5):  # between the cycles, and in the second behind the step that was last saved
        out = tmp_path / f"stopped-{moment}"

        def stop(report, moment=moment):
            if report.done == moment and report.stage.endswith("diffusion"):
                raise Cancelled("enough")

        with pytest.raises(Cancelled):
            train.train_demo(out, recipes=recipes, progress=stop, report=False)
        again = train.train_demo(out, recipes=recipes, report=False)
        expected = load_file(whole[train.DIFFUSION] / "model.safetensors")
        for key, found in load_file(again[train.DIFFUSION] / "model.safetensors").items():
            torch.testing.assert_close(found, expected[key], atol=1e-6, rtol=1e-4)


def test_another_training_in_the_same_place_is_refused(trained):
    with pytest.raises(InvalidInput, match="choose another"):
        train.train_demo(trained[train.AR].parent, recipes=TINY, seed=1, report=False)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / train.AR).mkdir()
    (tmp_path / train.AR / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="no demo model"):
        train.train_demo(tmp_path, recipes=TINY, report=False)
    assert (tmp_path / train.AR / "notes.txt").read_text() == "mine"


def test_training_texts_are_not_held_out_texts():
    from sap_core.stories.tasks import FIRST_SEED

    assert FIRST_SEED + 100_000 < batches.FIRST_TRAINING_SEED
