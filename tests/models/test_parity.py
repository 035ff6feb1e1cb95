"""Every family against its published algorithm: logits of a plain decoder, greedy generation token for token."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
import transformers
from chosen import a_third, mostly_slow
from plain_decoder import PlainDecoder
from published_samplers import dream, llada, sdar
from safetensors.torch import load_file
from tiny_families import BLOCKS, ENCODERS, made
from tiny_models import GOLDEN

from sap_core.models.loading import load_model
from sap_core.samplers.canvas import canvas_of_ids
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

BOTH_WAYS = ["llada", "llada-moe", "dream", "a2d-llama", "a2d-qwen2", "a2d-qwen3", "native-diffusion",
             "native-qwen3-moe"]  # fmt: skip
PROMPT = [7, 31, 12, 50, 9, 66, 23, 41]
LLADA_SETTINGS = {
    "one block": ({"steps": 16}, {"steps": 16, "block": 16}),
    "blocks": ({"steps": 16, "block_length": 8}, {"steps": 16, "block": 8}),
    "few steps": ({"steps": 5}, {"steps": 5, "block": 16}),
    "guidance": ({"steps": 8, "block_length": 8, "guidance": 1.5}, {"steps": 8, "block": 8, "guidance": 1.5}),
    "threshold": ({"sampler": "confidence_threshold", "threshold": 0.3, "block_length": 8},
                  {"steps": 16, "block": 8, "threshold": 0.3}),
}  # fmt: skip
SDAR_SETTINGS = {
    "static": ({"sampler": "low_confidence_static"}, {}),
    "static, few steps": ({"sampler": "low_confidence_static"}, {"rounds": 2}),
    "dynamic": ({"sampler": "low_confidence_dynamic", "threshold": 0.25}, {"threshold": 0.25}),
    "dynamic, few steps": ({"sampler": "low_confidence_dynamic", "threshold": 0.25}, {"rounds": 2, "threshold": 0.25}),
    "threshold": ({"sampler": "confidence_threshold", "threshold": 0.4}, {"threshold": 0.4}),
}


class Tiny:
    """A family's tiny model, loaded once, and the plain decoder over the same folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, made(name, folder)
        self.model = load_model(str(self.folder), device="cpu")
        self.mask = self.model.check_masked()
        if name in ENCODERS:
            stock = transformers.AutoModelForMaskedLM.from_pretrained(self.folder).eval().requires_grad_(False)
            self.raw = lambda ids: stock(ids).logits
        else:
            self.raw = PlainDecoder(self.folder, BLOCKS.get(name))

    def published(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of the token AT each position: Dream's rows predict the next one; some models may not say "mask"."""
        found = self.raw(ids)
        if self.name == "dream":
            found = torch.cat([found[:, :1], found[:, :-1]], 1)
        if self.model.info.row.forbid_mask_prediction:
            found[..., self.mask] = -1e9
        return found

    def written(self, **fields) -> torch.Tensor:
        """The prompt and 16 tokens behind it."""
        canvas = canvas_of_ids(self.model, [PROMPT], len(PROMPT) + 16)
        *_, last = sample(self.model, canvas, SamplingOptions.build(length=len(PROMPT) + 16, **fields))
        return last.next_tokens


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda name: Tiny(name, root / name))


def test_the_plain_decoder_is_lladas() -> None:
    """The yardstick itself, against logits of the family's own code."""
    stored = load_file(GOLDEN / "forward.safetensors")
    plain = PlainDecoder(GOLDEN / "tiny-llada")(stored["input_ids"])
    torch.testing.assert_close(plain.float(), stored["logits"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", mostly_slow([*BOTH_WAYS, *BLOCKS], 5))
def test_logits(name: str, tiny) -> None:
    ids = torch.randint(3, 96, (2, 19), generator=torch.Generator().manual_seed(1))
    expected, found = tiny(name).published(ids), tiny(name).model.logits(ids).double()
    if tiny(name).model.info.row.forbid_mask_prediction:
        found[..., tiny(name).mask] = -1e9
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("setting", LLADA_SETTINGS)
@pytest.mark.parametrize("name", a_third([*(name for name in BOTH_WAYS if name != "dream"), *ENCODERS], 2))
def test_greedy_text_is_lladas(name: str, setting: str, tiny) -> None:
    fields, published = LLADA_SETTINGS[setting]
    shares = {"rounded": name.startswith("a2d")}
    expected = llada(tiny(name).published, PROMPT, tiny(name).mask, fill=16, **published, **shares)
    assert torch.equal(tiny(name).written(**fields), expected)


@pytest.mark.parametrize("rule", ["origin", "maskgit_plus", "topk_margin", "entropy"])
@pytest.mark.parametrize("steps", mostly_slow([6, 16], 1))
@pytest.mark.parametrize("top_k", [0, 5, None])
def test_greedy_text_is_dreams(rule: str, steps: int, top_k: int | None, tiny) -> None:
    """Without being asked, the 50 likeliest tokens, as its code has it on the transformers it needs."""
    k = 50 if top_k is None else top_k
    expected = dream(tiny("dream").published, PROMPT, 2, fill=16, steps=steps, rule=rule, seed=3, top_k=k)
    assert torch.equal(tiny("dream").written(sampler=rule, steps=steps, seed=3, top_k=top_k), expected)


@pytest.mark.parametrize("setting", SDAR_SETTINGS)
@pytest.mark.parametrize("name", mostly_slow(BLOCKS, 2))
def test_greedy_text_is_sdars(name: str, setting: str, tiny) -> None:
    fields, published = SDAR_SETTINGS[setting]
    block = BLOCKS[name]
    rounds = published.get("rounds", block)
    expected = sdar(tiny(name).published, PROMPT, 2, fill=16, block=block, **{**published, "rounds": rounds})
    assert torch.equal(tiny(name).written(**fields, steps=rounds * 16 // block), expected)
