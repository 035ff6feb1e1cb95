"""lm-evaluation-harness on our models: likelihoods by hand, our samplers' texts, whole tasks with local data."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

lm_eval = pytest.importorskip(
    "lm_eval", reason="lm-evaluation-harness is not installed: pip install 'sap-studio[tasks]'"
)

from sap_core.errors import InvalidInput  # noqa: E402
from sap_core.evaluation.harness import StudioLM  # noqa: E402
from sap_core.models.loading import load_model  # noqa: E402

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def diffusion(tiny_diffusion):
    return load_model(str(tiny_diffusion), device="cpu")


@pytest.fixture(scope="module")
def causal(tiny_causal):
    return load_model(str(tiny_causal), device="cpu")


def ask(*args):
    return SimpleNamespace(args=args)


def log_p(model, ids):
    """Log-probabilities [S, V] of one forward pass."""
    return torch.log_softmax(model.logits(torch.tensor([ids]))[0].double(), -1)


def test_causal_likelihood_is_exact_whatever_shares_the_batch(causal):
    lm = StudioLM(causal)
    found = lm.loglikelihood(
        [ask("w1 w2", " w3 w4 w5"), ask("w1 w2 w3 w9 w9 w9", " w7"), ask("", "w6 w7")], disable_tqdm=True
    )
    ids = causal.encode("w1 w2 w3 w4 w5")
    p = log_p(causal, ids)
    assert found[0][0] == pytest.approx(sum(float(p[i - 1, ids[i]]) for i in (2, 3, 4)), abs=1e-5)
    ids = [lm.framing.start, *causal.encode("w6 w7")]
    p = log_p(causal, ids)
    assert found[2][0] == pytest.approx(sum(float(p[i - 1, ids[i]]) for i in (1, 2)), abs=1e-5)


def test_causal_greedy_is_what_the_model_says_next(causal):
    start = causal.encode("w1 w2")
    following = []
    for _ in range(2):
        following.append(int(log_p(causal, start + following)[-1].argmax()))
    own, other = (" ".join(causal.piece(i) for i in ids) for ids in (following, [following[0], following[1] ^ 1]))
    found = StudioLM(causal).loglikelihood([ask("w1 w2", f" {own}"), ask("w1 w2", f" {other}")], disable_tqdm=True)
    assert [greedy for _, greedy in found] == [True, False]


def test_diffusion_likelihood_of_one_token_is_exact_and_of_two_the_mean_over_masks(diffusion):
    mask = diffusion.check_masked()
    a, b, c = diffusion.encode("w1 w2 w3")
    lm = StudioLM(diffusion, draws=400, check_greedy=False)
    one, two = (found for found, _ in lm.loglikelihood([ask("w1 w2", " w3"), ask("w1", " w2 w3")], disable_tqdm=True))
    assert one == pytest.approx(float(log_p(diffusion, [a, b, mask])[2, c]), abs=1e-5)
    # k = 1 of 2 masked: 2 ln p of the masked one, either equally likely; k = 2: ln p of both. Half of the draws each.
    either = float(log_p(diffusion, [a, mask, c])[1, b] + log_p(diffusion, [a, b, mask])[2, c])
    both = log_p(diffusion, [a, mask, mask])
    spread = abs(float(log_p(diffusion, [a, mask, c])[1, b] - log_p(diffusion, [a, b, mask])[2, c]))
    assert two == pytest.approx((either + float(both[1, b] + both[2, c])) / 2, abs=4 * spread / 2 / 200**0.5)


def test_diffusion_without_context_sees_the_text_alone(diffusion):
    lm = StudioLM(diffusion, draws=4, check_greedy=False)
    (found,) = lm.loglikelihood([ask("", "w5")], disable_tqdm=True)
    mask = diffusion.check_masked()
    assert found[0] == pytest.approx(float(log_p(diffusion, [mask])[0, diffusion.encode("w5")[0]]), abs=1e-5)


def test_generation_is_our_samplers_and_stops_where_asked(diffusion, causal):
    from sap_core.evaluation.generation import generate

    for model in (diffusion, causal):
        lm = StudioLM(model)
        size = 6
        written = generate(model, ["w1 w2"], length=2 + size)
        expected = model.decode(written.row(0, lm.tokenizer.eos_token_id))
        requests = [ask("w1 w2", {"max_gen_toks": size}), ask("w1 w2 w3", {"max_gen_toks": 3})]
        found = lm.generate_until(requests, disable_tqdm=True)
        assert found[0] == expected and len(found[1].split()) <= 3
        second = expected.split()[1]
        cut = lm.generate_until([ask("w1 w2", {"max_gen_toks": size, "until": [second]})], disable_tqdm=True)
        assert cut == [expected.split(second)[0]]


def test_diffusion_greedy_is_what_its_sampler_writes(diffusion):
    lm = StudioLM(diffusion, draws=1, steps=3)
    (own,) = lm.generate_until([ask("w1 w2", {"max_gen_toks": 3})], disable_tqdm=True)
    words = own.split()
    assert len(words) == 3
    other = " ".join([*words[:2], "w90" if words[2] != "w90" else "w91"])
    found = lm.loglikelihood([ask("w1 w2", f" {own}"), ask("w1 w2", f" {other}")], disable_tqdm=True)
    assert [greedy for _, greedy in found] == [True, False]


def test_long_texts_are_cut_into_windows_and_long_contexts_lose_their_beginning(diffusion, causal):
    text = " ".join(f"w{i % 90}" for i in range(100))  # the models have 64 positions
    ids = causal.encode(text)
    (found,) = StudioLM(causal).loglikelihood_rolling([ask(text)], disable_tqdm=True)
    start = StudioLM(causal).framing.start
    first = log_p(causal, [start, *ids[:63]])
    later = log_p(causal, ids[35:99])  # the rest behind as much context as fits
    expected = sum(float(first[i, ids[i]]) for i in range(64)) + sum(
        float(later[i - 36, ids[i]]) for i in range(64, 100)
    )
    assert found == pytest.approx(expected, abs=1e-4)
    rolled = StudioLM(diffusion, draws=2).loglikelihood_rolling([ask(text)], disable_tqdm=True)
    assert rolled[0] < 0
    for model, kept in ((causal, 64), (diffusion, 63)):
        lm = StudioLM(model, draws=2, check_greedy=False)
        cut = " ".join(text.split()[100 - kept :])
        long, short = lm.loglikelihood([ask(text, " w1"), ask(cut, " w1")], disable_tqdm=True)
        assert long[0] == pytest.approx(short[0], abs=1e-5)
    with pytest.raises(InvalidInput, match="100 tokens; the model takes 64"):
        StudioLM(diffusion).loglikelihood([ask("w1", f" {text}")], disable_tqdm=True)


def tasks():
    """Two tasks with data made here: choosing a continuation, and writing one."""
    from lm_eval.api.task import ConfigurableTask

    def rows(**_):
        from datasets import Dataset

        table = [{"start": f"w{i} w{i + 1}", "ends": [f"w{i + 2}", "w90 w91"], "right": i % 2} for i in range(4)]
        return {"test": Dataset.from_list(table)}

    shared = {"custom_dataset": rows, "test_split": "test", "doc_to_text": "{{start}}"}
    choose = shared | {
        "task": "stories_choose", "output_type": "multiple_choice", "doc_to_choice": "{{ends}}",
        "doc_to_target": "{{right}}", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }  # fmt: skip
    write = shared | {
        "task": "stories_write", "output_type": "generate_until", "doc_to_target": "{{ends[0]}}",
        "generation_kwargs": {"until": ["w9"], "max_gen_toks": 4}, "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    return [ConfigurableTask(config=config) for config in (choose, write)]


@pytest.mark.parametrize("kind", ["diffusion", "causal"])
def test_whole_tasks_under_the_name_sap(kind, request, tmp_path, monkeypatch):
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    folder = request.getfixturevalue(f"tiny_{kind}")
    arguments = {"pretrained": str(folder), "draws": 8, "check_greedy": False}
    done = lm_eval.simple_evaluate(
        model="sap",
        model_args=arguments,
        tasks=tasks(),
        task_manager=TaskManager(include_defaults=False),
        device="cpu",
        batch_size=4,
        bootstrap_iters=0,
    )
    samples = done["samples"]["stories_choose"]
    assert len(samples) == 4 and done["results"]["stories_write"]["exact_match,none"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    lm = StudioLM(request.getfixturevalue(kind), draws=8, check_greedy=False)
    right = 0
    asked = [ask(args[0], args[1]) for sample in samples for args in sample["arguments"]]
    scores = [found for found, _ in lm.loglikelihood(asked, disable_tqdm=True)]
    for i, sample in enumerate(samples):
        first, second = scores[2 * i : 2 * i + 2]
        right += int(second > first) == sample["doc"]["right"]
        assert [found[0][0] for found in sample["resps"]] == pytest.approx([first, second], abs=1e-5)
    assert done["results"]["stories_choose"]["acc,none"] == right / 4


def test_a_model_without_mask_token_is_refused(tmp_path):
    from tiny_models import save_tiny_llama

    save_tiny_llama(tmp_path, causal=False, mask=False)
    with pytest.raises(InvalidInput, match="mask"):
        StudioLM(str(tmp_path), device="cpu")
