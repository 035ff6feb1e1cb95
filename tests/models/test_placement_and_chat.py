"""Where and in which precision a model is loaded; chat templates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from sap_core.attention.recorder import record_attention
from sap_core.errors import InvalidInput, ModelProblem, OperationFailed
from sap_core.models import loading, placement
from sap_core.models.chat import chat_text
from sap_core.models.inspection import inspect_model
from sap_core.models.loaded import LoadedModel
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.samplers.canvas import build_canvas

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
    with pytest.raises(InvalidInput, match=r"can't be used \(TemplateError: no users here\)"):
        chat_text(inspect_model(str(chatty)), "w1")


def test_a_template_can_not_reach_the_machine(chatty: Path) -> None:
    (chatty / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(InvalidInput, match="SecurityError"):
        chat_text(inspect_model(str(chatty)), "w1")


def test_spread_gives_the_same_logits(tiny_causal: Path) -> None:
    ids = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
    spread = load_model(str(tiny_causal), device="spread")
    whole = load_model(str(tiny_causal), device=str(spread.device))
    assert torch.equal(spread.logits(ids), whole.logits(ids))


def test_weights_out_of_reach_are_captured_not_pruned(
    tiny_causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine whose GPUs are too small: one layer comes in for its own pass only."""
    ids = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
    where = {"model.embed_tokens": "disk", "model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "cpu"}
    where |= {"model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    given = {"dtype": torch.float32, "device_map": where, "offload_folder": str(tmp_path)}
    monkeypatch.setattr(loading, "placement", lambda *_: given)
    model, whole = load_model(str(tiny_causal), device="spread"), load_whole(tiny_causal)
    assert model.offloaded and not whole.offloaded and model.device.type == "cpu"
    with record_attention(model) as recorder:
        assert torch.equal(model.logits(ids), whole.logits(ids))
        assert recorder.collect().received.shape == (2, 3, 4, 12)
    with pytest.raises(ModelProblem, match="can't be pruned: device spread keeps some of its weights out of reach"):
        prune(model, method="magnitude")
    with pytest.raises(OperationFailed, match="out of reach"):
        model.save(tmp_path / "out")


def load_whole(folder: Path):
    """Loaded apart, whatever `placement` is replaced by."""
    module = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return LoadedModel(module, None, inspect_model(str(folder)))


@pytest.mark.extras
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_quantized_models_are_captured_not_pruned(dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="8 and 4 bits need bitsandbytes")
    torch.manual_seed(0)
    shape = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config = transformers.LlamaConfig(**shape, num_attention_heads=4, tie_word_embeddings=False, initializer_range=0.05)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "in")
    ids = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
    model = load_model(str(tmp_path / "in"), dtype=dtype, device="cpu")
    plain = model.logits(ids)
    with record_attention(model) as recorder:
        assert torch.equal(model.logits(ids), plain)
        assert torch.isfinite(recorder.collect().received).all()
    exact = load_model(str(tmp_path / "in"), device="cpu").logits(ids)
    assert 0 < (plain - exact).abs().max() < exact.abs().max()
    with pytest.raises(ModelProblem, match=f"can't be pruned: it was loaded in {dtype}"):
        prune(model, method="magnitude")
    with pytest.raises(OperationFailed, match="loaded quantized"):
        model.save(tmp_path / "out")


def test_four_bits_on_a_cpu_want_whole_blocks(tiny_causal: Path) -> None:
    with pytest.raises(ModelProblem, match=r"needs widths that 64 divides; .* has 32. Use int8"):
        load_model(str(tiny_causal), dtype="int4", device="cpu")


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_quantizing_without_its_library(tiny_causal: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    monkeypatch.setattr(placement, "_check_quantizable", lambda *_: None)
    with pytest.raises(ModelProblem, match="needs bitsandbytes, which is not installed"):
        load_model(str(tiny_causal), dtype=dtype)


def test_a_quantized_checkpoint_is_not_pruned(tiny_causal: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_causal, tmp_path / "quantized"))
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelProblem, match=r"can't be pruned: its weights are stored quantized \(bitsandbytes\)"):
        inspect_model(str(folder)).check_prunable()
