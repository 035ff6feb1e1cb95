"""The training: its losses by hand, seeded, resumable, atomic; and a miniature that learns."""

import json
import math
from dataclasses import replace

import pytest
import torch
from demo_training import train
from demo_training.muon import orthogonalize
from demo_training.train import AR, DIFFUSION, EOS, IDS, MASK, PAD, SCRATCH, Recipe, draw_masks, schedule, texts
from torch.nn import functional as F

from sap_core.errors import Cancelled, InvalidInput
from sap_core.stories.corpus import generate, words
from sap_core.stories.tokenizer import build_tokenizer, canvas_length

pytestmark = pytest.mark.slow

TINY = {name: Recipe(steps=4, batch=4, warmup=1) for name in (AR, DIFFUSION, SCRATCH)}
TINY[DIFFUSION] = replace(TINY[DIFFUSION], closed=1, opening=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train.train_demo(tmp_path_factory.mktemp("trained"), recipes=TINY, report=False)


def test_ids_are_the_tokenizers():
    assert build_tokenizer(add_bos=False).get_vocab() == IDS


def test_texts_are_a_function_of_seed_and_step():
    recipe = Recipe(steps=40, batch=4)
    rows = list(texts(recipe, causal=False))
    assert len(rows) == 40
    assert all(torch.equal(a, b) for a, b in zip(texts(recipe, causal=False, first=37), rows[37:], strict=True))
    other = next(texts(replace(recipe, seed=2), causal=False))
    assert other.shape != rows[0].shape or not torch.equal(other, rows[0])


def test_causal_rows_begin_and_end():
    tokenizer = build_tokenizer(add_bos=True)
    for row in next(texts(Recipe(steps=1, batch=6), causal=True)).tolist():
        end = row.index(EOS)
        text = tokenizer.decode(row[:end], skip_special_tokens=True)
        assert tokenizer(text)["input_ids"] == row[:end]
        assert set(row[end + 1 :]) <= {PAD}


def test_diffusion_rows_are_filled_up_to_a_canvas():
    widths = set()
    for rows in texts(Recipe(steps=64, batch=4), causal=False):
        widths.add(rows.shape[1])
        longest = max(row.index(EOS) + 1 for row in rows.tolist())
        assert rows.shape[1] in (canvas_length(longest), canvas_length(longest) + 32)
        for row in rows.tolist():
            assert set(row[row.index(EOS) :]) == {EOS}
    assert len(widths) > 2


def test_masks_are_stratified_and_leave_prompts_in_sight():
    tokens = torch.full((64, 96), EOS)
    tokens[:, :80] = 9
    generator = torch.Generator().manual_seed(0)
    all_in_play = draw_masks(tokens, generator, prompted=0.0).sum(1).sort().values
    assert ((all_in_play - torch.arange(64) * 96 / 64).abs() <= 2.5).all()
    assert draw_masks(tokens, generator, ceiling=0.4, prompted=0.0).sum(1).max() <= 0.4 * 96 + 1
    prompted = torch.cat([draw_masks(tokens, generator, prompted=1.0) for _ in range(20)])
    first = prompted.float().argmax(1)
    assert prompted.any(1).all() and first.float().mean() > 35


class Uniform(torch.nn.Module):
    """Predicts every token with the same probability."""

    def __init__(self, shifted):
        super().__init__()
        self.config = type("Config", (), {"sap_shift_logits": shifted})

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        return type("Output", (), {"logits": torch.zeros(*input_ids.shape, len(IDS))})


def test_the_losses_of_a_uniform_model_are_ln_v():
    recipe = Recipe(steps=1, batch=8)
    causal = train.causal_loss(Uniform(False), next(texts(recipe, causal=True)))
    masked = train.masked_loss(Uniform(True), next(texts(recipe, causal=False)), 0, recipe)
    assert [causal.item(), masked.item()] == pytest.approx([math.log(len(IDS))] * 2, rel=1e-5)


@pytest.mark.parametrize("name", [DIFFUSION, SCRATCH])
def test_the_masked_loss_by_hand(name):
    """Text by text: the mean over its masked tokens, predicted in their own row, or in the one before if shifted."""
    model, recipe = train.build_model(name), Recipe(steps=1, batch=3)
    tokens = next(texts(recipe, causal=False))
    masked = draw_masks(tokens, torch.Generator().manual_seed(recipe.seed * 1_000_003), ceiling=0.25)
    with torch.no_grad():
        logits = model(input_ids=tokens.masked_fill(masked, MASK)).logits
        row_of = torch.arange(tokens.shape[1]) - int(name == DIFFUSION)
        each = F.cross_entropy(logits[:, row_of.clamp(min=0)].flatten(0, 1), tokens.flatten(), reduction="none")
        each = each.view_as(tokens)
        by_hand = sum(each[i][masked[i]].mean() for i in range(3)) / 3
        assert train.masked_loss(model, tokens, 0, recipe).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_attention_opens_slowly():
    """Closed: the loss is the causal model's on the masked text; then the right comes in; at last nothing is added."""
    recipe = Recipe(steps=9, batch=3, closed=1, opening=4)
    model, tokens = train.build_model(DIFFUSION), next(texts(recipe, causal=False))
    masked = draw_masks(tokens, torch.Generator().manual_seed(recipe.seed * 1_000_003), ceiling=0.25)
    causal = train.build_model(AR)
    causal.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = causal(input_ids=tokens.masked_fill(masked, MASK), use_cache=False).logits
        expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        assert train.masked_loss(model, tokens, 0, recipe).item() == pytest.approx(expected.item(), rel=1e-5)
    biases = [train.attention_bias(3, step, recipe) for step in range(1, 6)]
    assert [bias[0, 0, 0, 1].item() for bias in biases[:4]] == pytest.approx([-6, -4.5, -3, -1.5])
    assert all((bias[0, 0].tril() == 0).all() for bias in biases[:4]) and biases[4] is None


def test_the_share_that_is_masked_grows():
    recipe = Recipe(steps=9, hold=100, ramp=50, least=0.2)
    assert [train.ceiling(step, recipe) for step in (0, 100, 125, 150, 900)] == pytest.approx([0.2, 0.2, 0.6, 1, 1])


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8), (1, 16, 16)])
def test_orthogonalize(shape):
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert values.max() < 1.3 and values.median() > 0.6


def test_schedule_by_hand():
    recipe = Recipe(steps=100, warmup=10, decay=0.5)
    assert schedule(0, recipe) == pytest.approx(0.1)
    assert schedule(30, recipe) == 1.0
    assert schedule(75, recipe) == pytest.approx(0.5)
    assert schedule(99, recipe) == pytest.approx(0.02)


def test_attention_begins_by_copying():
    """What is attended to becomes likelier: each head's output matrix undoes its value matrix."""
    attention = train.build_model(AR).model.layers[0].self_attn
    assert torch.equal(attention.o_proj.weight, attention.v_proj.weight.T)
    product = attention.o_proj.weight @ attention.v_proj.weight
    torch.testing.assert_close(product, 0.09 * torch.eye(len(product)), atol=1e-5, rtol=0)


def test_the_models_load_with_stock_classes(trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name, folder in trained.items():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("once there was a girl named mia", return_tensors="pt")["input_ids"]
        other = ids.clone()
        other[0, -1] = 9
        with torch.no_grad():
            reached = (model(ids).logits[0, 0] - model(other).logits[0, 0]).abs().max() > 1e-6
        assert bool(reached) == (name != AR)
        config = json.loads((folder / "config.json").read_text())
        if name == AR:
            assert config["sap_objective"] == "autoregressive" and "mask_token_id" not in config
        else:
            found = (config["is_causal"], config["mask_token_id"], config["sap_objective"])
            assert found == (False, MASK, "masked_diffusion")
            assert config["sap_shift_logits"] is (name == DIFFUSION)


def test_the_opened_model_begins_with_the_autoregressive_weights(trained):
    from transformers import AutoModelForCausalLM

    causal = AutoModelForCausalLM.from_pretrained(trained[AR]).state_dict()
    model = train.build_model(DIFFUSION)
    train.open_up(model, trained[AR])
    for key, found in model.state_dict().items():
        if "embed" not in key and "lm_head" not in key:
            assert torch.equal(found, causal[key])
    table = model.get_input_embeddings().weight
    torch.testing.assert_close(table[MASK], table[5:].mean(0))


def test_the_log_lies_beside_the_weights(trained):
    for name, folder in trained.items():
        head, *lines = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
        assert (head["model"], head["steps"], head["batch"]) == (name, 4, 4)
        assert lines[-1]["step"] == 4 and lines[-1]["loss"] > 0


def test_stopping_and_going_on_gives_the_same_weights(trained, tmp_path):
    from safetensors.torch import load_file

    def stop(report):
        if report.done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        train.train(SCRATCH, tmp_path, TINY[SCRATCH], save_every=2, progress=stop)
    assert not (tmp_path / SCRATCH).exists()
    seen = []
    again = train.train(SCRATCH, tmp_path, TINY[SCRATCH], save_every=2, progress=seen.append)
    assert [report.done for report in seen] == [3, 4]
    assert [path.name for path in tmp_path.iterdir()] == [SCRATCH]
    expected = load_file(trained[SCRATCH] / "model.safetensors")
    for key, found in load_file(again / "model.safetensors").items():
        torch.testing.assert_close(found, expected[key], atol=1e-6, rtol=1e-4)


def test_a_finished_model_is_left_as_it_is(trained):
    before = (trained[AR] / "model.safetensors").stat().st_mtime_ns
    train.train(AR, trained[AR].parent, TINY[AR])
    assert (trained[AR] / "model.safetensors").stat().st_mtime_ns == before


def test_another_training_in_the_same_place_is_refused(trained):
    with pytest.raises(InvalidInput, match="choose another"):
        train.train_demo(trained[AR].parent, recipes=TINY, seed=7, report=False)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / AR).mkdir()
    (tmp_path / AR / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="no demo model"):
        train.train_demo(tmp_path, recipes=TINY, report=False)
    assert (tmp_path / AR / "notes.txt").read_text() == "mine"


def test_a_miniature_learns(tmp_path):
    """Far better than the frequencies of words (about 4.5 nats) within sixty small steps."""
    recipe = Recipe(steps=60, batch=8, warmup=5)
    model = train.build_model(AR)
    log = train.fit(model, recipe, tmp_path / "state.pt", save_every=20)
    assert log[0]["loss"] > 3 and log[-1]["loss"] < 0.5 * log[0]["loss"]


def test_training_texts_are_not_held_out_texts():
    from sap_core.stories.tasks import FIRST_SEED

    assert FIRST_SEED + 100_000 < train.FIRST_SEED
    recipe = Recipe(steps=1, batch=1)
    first = next(texts(recipe, causal=True, pool=1))[0].tolist()
    assert first[1:-1] == [IDS[w] for w in words(generate(train.FIRST_SEED * (recipe.seed + 1)).text)]
