"""Where and in which precision a model is loaded; chat templates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from sap_core.errors import InvalidInput, ModelProblem
from sap_core.models import chat_text, inspect_model, load_model, placement
from sap_core.samplers import build_canvas

TEMPLATE = (
    "{%- for message in messages %}{% if loop.index0 > 3 %}{% break %}{% endif %}"
    "{{ bos_token }} {{ message['role'] }} : {{ message['content'] | trim }} {{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@pytest.fixture
def chatty(tiny_diffusion: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_diffusion, tmp_path / "chat"))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bos_token": "<pad>", "chat_template": TEMPLATE}))
    return folder


def test_the_template_is_shown_as_it_is_sent(chatty: Path) -> None:
    shown = chat_text(inspect_model(str(chatty)), " w1 w2 ")
    assert shown == "<pad> user : w1 w2 <eos>\nassistant :"
    model = load_model(str(chatty), device="cpu")
    turns = [{"role": "user", "content": " w1 w2 "}]
    assert shown == model.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    canvas = build_canvas(model, [" w1 w2 "], 12, chat=True)
    assert canvas.tokens[0, : canvas.prompt_lengths[0]].tolist() == model.encode(shown, special=False)


def test_no_template_or_a_broken_one(tiny_diffusion: Path, chatty: Path) -> None:
    with pytest.raises(InvalidInput, match="has no chat template"):
        chat_text(inspect_model(str(tiny_diffusion)), "w1")
    (chatty / "chat_template.jinja").write_text("{{ raise_exception('no users here') }}")
    with pytest.raises(InvalidInput, match=r"can't be rendered \(no users here\)"):
        chat_text(inspect_model(str(chatty)), "w1")


def test_a_template_can_not_reach_the_machine(chatty: Path) -> None:
    (chatty / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(InvalidInput, match="can't be rendered"):
        chat_text(inspect_model(str(chatty)), "w1")


def test_spread_gives_the_same_logits(tiny_causal: Path) -> None:
    ids = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
    spread = load_model(str(tiny_causal), device="spread")
    whole = load_model(str(tiny_causal), device=str(spread.device))
    assert torch.equal(spread.logits(ids), whole.logits(ids))


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_quantizing_without_its_library(tiny_causal: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(ModelProblem, match="needs bitsandbytes, which is not installed"):
        load_model(str(tiny_causal), dtype=dtype)


def test_a_quantized_checkpoint_is_not_pruned(tiny_causal: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_causal, tmp_path / "quantized"))
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelProblem, match=r"can't be pruned: its weights are stored quantized \(bitsandbytes\)"):
        inspect_model(str(folder)).check_prunable()
