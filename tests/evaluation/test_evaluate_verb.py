"""`evaluate` and `quick_compare` as documents; the demo's tasks with models that know the answers."""

from __future__ import annotations

import json

import pytest
import torch

from sap_core.errors import InvalidInput
from sap_core.evaluation import quick
from sap_core.evaluation.api import evaluate
from sap_core.evaluation.cost import model_size
from sap_core.evaluation.generation import generate
from sap_core.evaluation.quick import quick_compare
from sap_core.evaluation.tasks import knows_stories, task_scores
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune


@pytest.fixture(scope="module")
def diffusion(tiny_diffusion):
    return load_model(str(tiny_diffusion))


@pytest.mark.slow
def test_a_pruned_model_beside_its_baseline(diffusion):
    pruned = prune(diffusion, method="magnitude", sparsity=0.5).model
    found = evaluate(pruned, diffusion, samples=3, draws=2)
    assert json.loads(json.dumps(found)) == found
    assert found["likelihood"]["kind"] == "bound" and found["likelihood"]["texts"] == 3
    difference = found["likelihood"]["nats_per_token"] - found["baseline"]["likelihood"]["nats_per_token"]
    assert found["difference"]["nats_per_token"] == pytest.approx(difference)
    assert found["ratios"]["nonzero_parameters"] < 0.65 and found["ratios"]["bytes"] == 1.0
    assert found["tokens_per_second"] > 0 and found["tasks"] is None


def test_models_that_can_not_be_paired_are_refused_by_name(diffusion, tiny_causal):
    with pytest.raises(InvalidInput, match="evaluate each alone"):
        evaluate(diffusion, str(tiny_causal), samples=2)


def test_a_missing_text_file_is_refused_before_the_model_is_loaded():
    with pytest.raises(InvalidInput, match=r"text file 'none\.txt' does not exist"):
        evaluate("no-such-model", text="none.txt")


def test_size_counts_tied_weights_once(tiny_causal):
    model = load_model(str(tiny_causal))
    before = model_size(model)
    model.module.lm_head.weight = model.module.model.embed_tokens.weight
    after = model_size(model)
    assert before["parameters"] - after["parameters"] == 96 * 32
    assert after["bytes"] == 4 * after["parameters"]


def test_quick_compare_shows_both_texts_and_remembers_the_dense_side(diffusion, monkeypatch):
    same = quick_compare(diffusion, diffusion.clone(), prompt="w3 w4", length=24)
    none = {"nats_per_token": 0.0, "standard_error": 0.0, "low": 0.0, "high": 0.0}
    assert same["same_tokens"] == 1.0 and same["difference"] == same["kl"] == none
    assert same["texts"]["source"] == "texts the dense model writes" and same["texts"]["texts"] == 8
    assert same["dense"]["text"].startswith("w3 w4")
    asked = []
    monkeypatch.setattr(
        quick, "generate", lambda model, *rest, **options: asked.append(model) or generate(model, *rest, **options)
    )
    pruned = prune(load_model(diffusion.info.ref), method="magnitude", sparsity=0.9).model
    other = quick_compare(diffusion, pruned, prompt="w3 w4", length=24)
    assert asked == [pruned] and other["kl"]["nats_per_token"] > 0
    assert other["dense"] == same["dense"] and other["pruned"]["text"] != same["dense"]["text"]


@pytest.fixture(scope="module")
def story_model(tmp_path_factory):
    """An untrained diffusion model of one thin layer with the demo's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from sap_core.stories.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("story-model")
    tokenizer = build_tokenizer(add_bos=False)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=256, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config.is_causal = False
    config.mask_token_id = tokenizer.mask_token_id
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def test_tasks_are_scored_on_a_model_that_knows_the_answers(story_model, monkeypatch, diffusion):
    """Logits that point at the right text of each canvas give score 1 on every task, in both modes; an untrained model
    answers nothing right."""
    from sap_core.stories.tasks import TASKS, examples

    assert knows_stories(story_model) and not knows_stories(diffusion)
    end = story_model.tokenizer.eos_token_id
    solutions = []
    for infill in (False, True):
        for task in TASKS:
            for example in examples(task, 1, infill=infill):
                text = " ".join(part for part in (example.before, example.target, example.after) if part)
                ids = story_model.encode(text)
                solutions.append(ids + [end] * (256 - len(ids)))
    solutions = torch.tensor(solutions)

    def knowing(input_ids, attention_mask=None, *, observed=True):
        mask = story_model.info.mask_token_id
        length = input_ids.shape[1]
        best = []
        for row in input_ids:
            agreement = ((solutions[:, :length] == row) | (row == mask)).sum(1)
            best.append(solutions[agreement.argmax(), :length])
        return torch.nn.functional.one_hot(torch.stack(best), story_model.info.vocab_size).float() * 20

    assert task_scores(story_model, examples=1)["infilling"]["question"]["score"] == 0
    monkeypatch.setattr(story_model, "logits", knowing)
    scores = task_scores(story_model, examples=1)
    for task in TASKS:
        assert (scores[task]["score"], scores[task]["n"], scores[task]["high"]) == (1.0, 1, 1.0), task
        assert 0 < scores[task]["low"] < 0.5, task
        assert scores["infilling"][task]["score"] == 1.0, task
    # Another example than the first: its solution is not among those above.
    assert task_scores(story_model, examples=1, skip=1)["question"]["score"] == 0

    question = examples("question", 1)[0]
    asked = {"length": question.length, "block_length": 32}
    whole, early = (generate(story_model, [question.before], **asked, until_end=stop) for stop in (False, True))
    assert early.row(0, end) == whole.row(0, end) == story_model.encode(question.target)
    assert len(early.row(0, end)) < early.count < whole.count and story_model.info.mask_token_id in early.tokens
