"""Every golden generation, token for token, and draws at a temperature with the published code's random numbers."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
from golden_families import END, MASK, checkpoint, expected
from torch import Tensor

from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import canvas_of_ids
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

pytestmark = pytest.mark.slow

# Golden case and its tensor -> settings. Published texts are cut where the canvas goes on in whole blocks.
GENERATIONS = {
    ("a2d", "s32"): {"steps": 32},
    ("a2d", "s16b8"): {"steps": 16, "block_length": 8},
    ("a2d", "s20"): {"steps": 20},
    ("a2d", "cfg"): {"steps": 32, "block_length": 16, "guidance": 1.0},
    ("a2d-blocks", "bd_aligned"): {},
    ("a2d-blocks", "bd_prompt11"): {},
    ("dream", "entropy32_top_k50"): {"steps": 32},
    ("dream", "maskgit16_top_k50"): {"sampler": "maskgit_plus", "steps": 16, "top_k": 50},
    ("dream", "margin20_top_k50"): {"sampler": "topk_margin", "steps": 20},
    ("dream", "entropy32_top_p0.95"): {"steps": 32, "top_p": 0.95, "top_k": 0},
    ("dream", "maskgit32_top_p0.9"): {"sampler": "maskgit_plus", "steps": 32, "top_p": 0.9, "top_k": 0},
    ("open_dllm", "entropy32"): {"sampler": "entropy", "steps": 32},
    ("rnd1", "greedy32"): {"steps": 32},
    ("llada2", "b4"): {},
    ("fast_dllm_v2", "greedy"): {},
    ("sdar", "dyn"): {"threshold": 0.05},
    ("sdar", "static4"): {"sampler": "low_confidence_static"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("golden")
    return cache(lambda name: load_model(str(checkpoint(name, root / name)), device="cpu"))


def steps_of(model, prompt: list[int], length: int, **fields) -> list:
    canvas = canvas_of_ids(model, [prompt], length)
    return list(sample(model, canvas, SamplingOptions.build(length=length, **fields)))


@pytest.mark.parametrize(("name", "text"), GENERATIONS)
def test_greedy_text_is_the_published_codes(name: str, text: str, model) -> None:
    stored = expected(name)
    prompt, published = stored["prompt"][0].tolist(), stored[f"generation.{text}"][0].tolist()
    if name == "llada2":
        published = prompt + published
    if text == "bd_aligned":
        prompt = published[:8]
    if text == "bd_prompt11":
        assert published.pop(0) == END  # the pad in front, to whole blocks
    more = name == "rnd1"  # the place that its canvas keeps for an end
    *_, last = steps_of(model(name), prompt, len(published) + more, **GENERATIONS[name, text])
    assert last.next_tokens[0, : len(published)].tolist() == published


def test_sdars_even_shares_leave_the_prompt_as_it_is(model) -> None:
    """Published code with two steps a block counts two tokens where the prompt leaves one, and takes a second at random
    from the prompt (a tie of -inf in topk). That is not followed; the blocks are SDAR's otherwise."""
    prompt = expected("sdar")["prompt"][0].tolist()
    *_, last = steps_of(model("sdar"), prompt, 44, sampler="low_confidence_static", steps=17)
    ids = torch.tensor([prompt + [MASK] * 33])
    for start in range(8, 44, 4):
        while (ids[0, start : start + 4] == MASK).any():
            p, best = torch.softmax(model("sdar").logits(ids)[0, start : start + 4], -1).max(-1)
            open_ = ids[0, start : start + 4] == MASK
            for place in p.masked_fill(~open_, -1).topk(min(2, int(open_.sum()))).indices.tolist():
                ids[0, start + place] = best[place]
    assert torch.equal(last.next_tokens, ids)


# ---- drawn at a temperature: published loops written out, with torch's own random numbers ---


def multinomial(logits: Tensor) -> tuple[Tensor, Tensor]:
    shares = torch.softmax(logits, -1)
    drawn = torch.multinomial(shares, 1)
    return drawn[:, 0], shares.gather(-1, drawn)[:, 0]


def nucleus(logits: Tensor, p: float) -> Tensor:
    ordered, order = logits.sort(descending=True)
    gone = torch.softmax(ordered, -1).cumsum(-1) > p
    gone[..., 1:] = gone[..., :-1].clone()
    gone[..., 0] = False
    return logits.masked_fill(torch.zeros_like(gone).scatter_(-1, order, gone), -torch.inf)


def highest(logits: Tensor, k: int) -> Tensor:
    return logits.masked_fill(logits < logits.topk(k).values[..., -1:], -torch.inf)


@pytest.mark.parametrize("rule", ["entropy", "maskgit_plus", "origin"])
@pytest.mark.parametrize("alg_temp", [0.0, 0.4])
def test_dream_draws_with_the_same_random_numbers(rule: str, alg_temp: float, model) -> None:
    if rule == "origin" and alg_temp:
        pytest.skip("origin ranks nothing")
    dream, prompt = model("dream"), expected("dream")["prompt"][0].tolist()
    torch.manual_seed(7)
    ids, line = torch.tensor([prompt + [MASK] * 24]), torch.linspace(1, 1e-3, 13)
    for i, (t, s) in enumerate(pairwise(line)):
        open_ = ids == MASK
        logits = dream.logits(ids)[open_]
        opens = 1 - s / t if i < 11 else 1
        if rule == "origin":
            found = torch.full((len(logits),), MASK)
            moved = torch.rand(len(logits)) < opens
            found[moved] = multinomial(highest(nucleus(logits[moved] / 0.8, 0.9), 50))[0]
            ids[open_] = found
            continue
        kept = highest(nucleus(logits / 0.8, 0.9), 50)
        found, score = multinomial(kept)
        if rule == "entropy":
            shares = torch.softmax(kept, -1)
            score = (shares * torch.log(shares + 1e-10)).sum(-1)
        full = torch.full(ids.shape, -torch.inf)
        full[open_] = score
        count = int(open_.sum() * opens)
        if not count:
            continue
        heat = full / alg_temp if alg_temp else full
        chosen = torch.multinomial(torch.softmax(heat, -1), count) if alg_temp else full.topk(count).indices
        drawn = torch.full(ids.shape, MASK)
        drawn[open_] = found
        ids[0, chosen[0]] = drawn[0, chosen[0]]
    more = {"confidence_temperature": alg_temp} if alg_temp else {}
    fields = {"sampler": rule, "steps": 12, "temperature": 0.8, "top_p": 0.9, "seed": 7, **more}
    *_, last = steps_of(dream, prompt, len(prompt) + 24, **fields)
    assert torch.equal(last.next_tokens, ids)


def test_sdar_draws_with_the_same_random_numbers_and_its_tempered_confidence(model) -> None:
    sdar, prompt = model("sdar"), expected("sdar")["prompt"][0].tolist()
    torch.manual_seed(5)
    ids = torch.tensor([prompt + [MASK] * 21])
    for start in range(8, 32, 4):
        for _ in range(4):
            open_ = ids[0, start : start + 4] == MASK
            if not open_.any():
                break
            logits = sdar.logits(ids)[0, start : start + 4] / 0.7
            found, score = multinomial(nucleus(highest(logits, 40), 0.95))
            score = score.masked_fill(~open_, -torch.inf)
            keep = score > 0.3
            if not keep.any():
                keep[score.argmax()] = True
            ids[0, start : start + 4][keep] = found[keep]
    fields = {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "threshold": 0.3, "seed": 5, "ends": "fill"}
    *_, last = steps_of(sdar, prompt, 32, **fields)
    assert torch.equal(last.next_tokens, ids)


@pytest.mark.parametrize("sampler", ["low_confidence", "random"])
def test_llada_draws_with_the_same_random_numbers(sampler: str, model) -> None:
    a2d, prompt = model("a2d"), expected("a2d")["prompt"][0].tolist()
    torch.manual_seed(3)
    ids = torch.tensor([prompt + [MASK] * 16])
    for _ in range(8):
        open_, logits = ids == MASK, a2d.logits(ids)
        noise = (-torch.log(torch.rand(logits.shape, dtype=torch.float64))) ** 0.9
        found = (logits.double().exp() / noise).argmax(-1)
        score = logits.softmax(-1).gather(-1, found[..., None])[..., 0]
        if sampler == "random":
            score = torch.rand(score.shape)
        chosen = score.masked_fill(~open_, -torch.inf)[0].topk(2).indices
        ids[0, chosen] = found[0, chosen]
    *_, last = steps_of(a2d, prompt, len(prompt) + 16, sampler=sampler, steps=8, temperature=0.9, seed=3)
    assert torch.equal(last.next_tokens, ids)


def test_rnd1_draws_with_the_same_random_numbers(model) -> None:
    rnd1, prompt = model("rnd1"), expected("rnd1")["prompt"][0].tolist()
    torch.manual_seed(9)
    pad = rnd1.info.config["pad_token_id"]
    ids = torch.tensor([prompt + [MASK] * 12 + [pad]])
    inside = ids == MASK
    for left in range(5, -1, -1):
        rows = rnd1.module(input_ids=ids, use_cache=False).logits / 0.6  # unshifted: row i - 1 is of token i
        logp = rows.log_softmax(-1)
        found = torch.distributions.Categorical(logits=logp).sample()
        entropy = -(logp.exp() * logp).sum(-1)
        open_ = (ids == MASK) & inside
        at = torch.zeros_like(entropy)
        at[:, 1:] = entropy[:, :-1]
        stays = torch.zeros_like(open_)
        stays[0, at.masked_fill(~open_, -torch.inf)[0].topk(int(12 * left / 6)).indices] = True
        moved = open_ & ~stays
        ids[moved] = torch.cat([ids[:, :1], found[:, :-1]], 1)[moved]
    *_, last = steps_of(rnd1, prompt, len(prompt) + 13, steps=6, temperature=0.6, seed=9)
    assert torch.equal(last.next_tokens, ids)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_llada21_edits_as_published(temperature: float, model) -> None:
    """LLaDA2.1's generate for blocks of 4: thresholds low enough that a random model writes and rewrites."""
    llada2, prompt = model("llada2"), expected("llada2")["prompt"][0].tolist()
    accept, edit = 0.02, 0.015
    torch.manual_seed(1)
    ids, edits = torch.tensor([prompt + [MASK] * 17]), 0
    for start in range(8, 28, 4):
        after = 0
        while True:
            old = ids[0, start : start + 4].clone()
            open_ = old == MASK
            after += not open_.any()
            if after > 16:
                break
            logits = llada2.logits(ids)[0, start : start + 4]
            if temperature:
                found, score = multinomial(logits / temperature)
            else:
                score, found = logits.softmax(-1).max(-1)
            take = (score > accept) & open_
            if open_.any() and not take.any():
                take[score.masked_fill(~open_, -torch.inf).argmax()] = True
            mine = ~open_ & (torch.arange(start, start + 4) >= len(prompt))
            rewrite = mine & (score > edit) & (found != old)
            ids[0, start : start + 4][take | rewrite] = found[take | rewrite]
            edits += int(rewrite.sum())
            if not open_.any() and not rewrite.any():
                break
    fields = {"sampler": "token_editing", "threshold": accept, "edit_threshold": edit, "ends": "fill"}
    *_, last = steps_of(llada2, prompt, 28, temperature=temperature, seed=1, **fields)
    assert torch.equal(last.next_tokens, ids) and edits > 0


def test_p2_is_open_dllms(model) -> None:
    dllm, prompt = model("open_dllm"), expected("open_dllm")["prompt"][0].tolist()
    torch.manual_seed(4)
    ids = torch.tensor([prompt + [MASK] * 20])
    open_, again = ids == MASK, 0
    for i in range(10):
        masked = ids == MASK
        logits = dllm.logits(ids)
        logits[..., MASK] = -torch.inf  # the studio's rule for models that may predict the mask
        found, score = multinomial(logits[0] / 0.9)
        score = score[None].masked_fill(~open_, torch.inf)
        gone = torch.zeros_like(masked)
        gone[0, score[0].argsort()[: int(torch.tensor(20.0) * (1.0 - (i + 1) / 10))]] = True
        again += int((gone & ~masked).sum())
        ids = torch.where(gone, MASK, torch.where(masked, found[None], ids))
    *_, last = steps_of(dllm, prompt, len(prompt) + 20, sampler="p2", steps=10, temperature=0.9, seed=4)
    assert torch.equal(last.next_tokens, ids) and again > 0


@pytest.mark.parametrize("variant", ["cap", "rescale", "conf", "loop"])
def test_remdm_is_the_published_rule_draw_by_draw(model, variant: str) -> None:
    """arXiv 2503.00307, written plainly: alpha = 1 - t, both cases of q, and the three phases of the loop."""
    dllm, prompt = model("open_dllm"), expected("open_dllm")["prompt"][0].tolist()
    eta, count, fill = 0.3, 40, 20
    torch.manual_seed(4)
    ids = torch.tensor([prompt + [MASK] * fill])
    given = ids != MASK
    doubt = torch.full(ids.shape, -torch.inf)
    again = 0
    times, step = torch.linspace(1, 1e-5, count).tolist(), (1 - 1e-5) / (count - 1)
    for t in times:
        logits = dllm.logits(ids).clone()
        logits[..., MASK] = -torch.inf
        p = logits.softmax(-1)
        p[ids != MASK] = torch.nn.functional.one_hot(ids[ids != MASK], p.shape[-1]).float()
        if t == times[-1]:
            ids = p.argmax(-1)
            break
        s, written = t - step, ids != MASK
        alpha, then = 1 - t, 1 - s
        most = min(1.0, (1 - then) / alpha) if alpha > 0 else 1.0
        sigma = torch.full(ids.shape, {"cap": min(eta, most), "rescale": eta * most}.get(variant, eta))
        if variant == "conf":
            sigma = doubt.softmax(-1).nan_to_num(0).masked_fill(~written, 0) * most
        if variant == "loop":
            phase = 0 if t > 0.55 else 2 if t <= 0.05 else 1
            alpha = (0.9 * alpha / 0.45, 0.9, 1 - t * 0.1 / 0.05)[phase]
            then = (0.9 * then / 0.45, 0.9, 1 - s * 0.1 / 0.05)[phase]
            sigma = sigma * (phase == 1)
        q = torch.zeros(p.shape, dtype=torch.float64)
        for i in range(ids.shape[1]):
            off = float(sigma[0, i])
            keeps, hides = (1 - off, off)
            if not written[0, i]:
                keeps, hides = (then - (1 - off) * alpha) / (1 - alpha), (1 - then - off * alpha) / (1 - alpha)
            q[0, i] = p[0, i].double() * keeps
            q[0, i, MASK] = hides
        new = (q / (1e-10 - (torch.rand(q.shape, dtype=torch.float64) + 1e-10).log())).argmax(-1)
        new = torch.where(given, ids, new)
        again += int((written & (new == MASK)).sum())
        opened = ~written & (new != MASK)
        doubt[opened] = -p.gather(-1, new[..., None])[..., 0][opened]
        doubt[new == MASK] = -torch.inf
        ids = new
    ids = torch.where(given, torch.tensor([prompt + [0] * fill]), ids)
    settings = {"steps": count, "temperature": 1.0, "seed": 4} | ({} if variant == "conf" else {"remasking": eta})
    *_, last = steps_of(dllm, prompt, len(prompt) + fill, sampler=f"remdm_{variant}", **settings)
    assert torch.equal(last.next_tokens, ids) and again > 0


# ---- end rules and what is refused ---


def test_a_block_model_stops_behind_an_end_token(model) -> None:
    sdar, prompt = model("sdar"), expected("sdar")["prompt"][0].tolist()
    for seed in range(40):
        steps = steps_of(sdar, prompt, 64, temperature=3.0, seed=seed)
        answer = steps[-1].next_tokens[0, len(prompt) :].tolist()
        if END in answer:
            block = (len(prompt) + answer.index(END)) // 4
            assert answer[4 * (block + 1) - len(prompt) :] == [MASK] * (64 - 4 * (block + 1))
            filled = steps_of(sdar, prompt, 64, temperature=3.0, seed=seed, ends="fill")
            assert MASK not in filled[-1].next_tokens and len(filled) > len(steps)
            return
    pytest.fail("no text ended")


def test_end_tokens_can_be_forbidden_or_put_last(model) -> None:
    a2d, prompt = model("a2d"), expected("a2d")["prompt"][0].tolist()
    bias = torch.zeros(512)
    bias[END] = 50.0
    handle = a2d.module.lm_head.register_forward_hook(lambda module, args, output: output + bias)
    try:
        plain, forbidden, last = (
            steps_of(a2d, prompt, len(prompt) + 8, sampler="low_confidence", steps=8, ends=rule)
            for rule in ("fill", "logits_eos_inf", "confidence_eos_eot_inf")
        )
    finally:
        handle.remove()
    assert plain[-1].next_tokens[0, len(prompt) :].tolist() == [END] * 8
    assert END not in forbidden[-1].next_tokens[0, len(prompt) :].tolist()
    assert (last[0].confidence[0, len(prompt) :] == 0).all()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sampler": "low_confidence", "top_k": 5}, "draws nothing at temperature 0"),
        ({"sampler": "low_confidence", "edit_threshold": 0.5}, "edit_threshold is 0.5, but sampler 'low_confidence'"),
        ({"sampler": "random", "confidence_temperature": 0.5}, "confidence_temperature is 0.5, but sampler 'random'"),
        ({"sampler": "confidence_threshold", "entropy_limit": 0.5}, "entropy_limit is 0.5"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(fields: dict, words: str, model) -> None:
    with pytest.raises(InvalidInput, match=words):
        steps_of(model("a2d"), [1, 2, 3], 12, **fields)


def test_part_of_a_block_is_written_in_order(model) -> None:
    prompt = expected("sdar")["prompt"][0].tolist()
    steps = steps_of(model("sdar"), prompt, 32, block_length=2, ends="fill")
    places = [int(place) // 2 for step in steps for place in step.accepted[0].nonzero()[:, 0]]
    assert places == sorted(places) and len(places) == 21
    with pytest.raises(InvalidInput, match=r"block_length is 3; .* has blocks of 4"):
        steps_of(model("sdar"), prompt, 32, block_length=3)


def test_the_first_token_of_a_shifted_block_is_written_before_all_others(model) -> None:
    prompt = expected("fast_dllm_v2")["prompt"][0].tolist()
    first = [step for step in steps_of(model("fast_dllm_v2"), prompt, 64, ends="fill") if step.accepted[0, 32]]
    assert [step.accepted[0].nonzero()[:, 0].tolist() for step in first] == [[32]]
    before = model("fast_dllm_v2").module(input_ids=first[0].tokens[:, :32], use_cache=False).logits[0, -1]
    assert first[0].next_tokens[0, 32] == before.argmax()
