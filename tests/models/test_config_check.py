"""What a config.json from outside can't do: load code, ask, or make anything large before its sizes are compared."""

from __future__ import annotations

import ast
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sap_core.errors import InvalidInput, ModelProblem
from sap_core.models.config_check import kernel_names, without_code
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.pruning.streamed.streamed_model import open_streamed

ROOT = Path(__file__).parents[2]
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tiny_diffusion: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_diffusion, tmp_path / "model"))


def change(folder: Path, name: str = "config.json", **fields: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_every_call_that_can_load_code_says_that_it_must_not():
    """Each from_pretrained and from_config of the package names trust_remote_code; the consented loader has its own."""
    wrong = []
    for path in sorted((ROOT / "sap_core").rglob("*.py")):
        if path.name == "remote.py":  # runs a model's own code, after consent
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            named = {keyword.arg for keyword in node.keywords}
            spread = path.name == "tokens.py" and None in named  # its options name it in both branches
            if node.func.attr in ("from_pretrained", "from_config") and "trust_remote_code" not in named and not spread:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


HOSTILE = {
    "attn_implementation": "evil/kernels",
    "_attn_implementation": "evil/kernels",
    "_attn_implementation_internal": "evil/kernels",
    "experts_implementation": "evil/kernels",
    "kernel_config": {"layer": "evil/kernels"},
    "use_kernels": True,
    "auto_map": {"AutoConfig": "evil.Config"},
    "base_model_tp_plan": {"layers.*": "evil"},
}


def test_names_that_load_kernels_or_code_do_not_reach_transformers(folder: Path) -> None:
    nested = {"deep": {"attn_implementation": "evil/kernels", "conv_kernel": 4, "hidden_size": 8}}
    assert without_code({**HOSTILE, **nested, "vocab_size": 3}) == {
        "deep": {"conv_kernel": 4, "hidden_size": 8},
        "vocab_size": 3,
    }
    assert kernel_names({"a": [{"attn_implementation": "x/y"}]}) == ["attn_implementation"]
    assert kernel_names({"attn_implementation": "sdpa", "_attn_implementation_autoset": True}) == []
    change(folder, **HOSTILE)
    for model in (load_model(str(folder)), open_streamed(str(folder)).model):
        assert model.module.config._attn_implementation in (None, "sdpa", "eager")
        for name in HOSTILE:
            if name != "_attn_implementation" and name != "_attn_implementation_internal":
                assert "evil" not in str(getattr(model.module.config, name, ""))


def test_an_export_drops_them(folder: Path, tmp_path: Path) -> None:
    change(folder, attn_implementation="evil/kernels", text_config=None)
    load_model(str(folder)).save(tmp_path / "out")
    assert "attn_implementation" not in json.loads((tmp_path / "out" / "config.json").read_text())


@pytest.mark.parametrize("method", ["evil", "fp8", "mxfp4", "quark", ["bitsandbytes"], 7])
def test_quantization_that_brings_code(folder: Path, method: object) -> None:
    change(folder, quantization_config={"quant_method": method})
    with pytest.raises(ModelProblem, match="brings code of its own"):
        load_model(str(folder))


BOMBS = [
    {"num_hidden_layers": 10**9},
    {"num_hidden_layers": 4},
    {"hidden_size": 10**9},
    {"intermediate_size": 10**12},
    {"vocab_size": 10**12},
    {"num_attention_heads": 10**9},
    {"num_key_value_heads": 10**9},
    {"head_dim": 10**9},
    {"max_position_embeddings": 10**18},
    {"text_config": {"num_hidden_layers": 10**9}},
    {"vision_config": {"num_hidden_layers": 10**9}},
    {"num_experts": 10**12},
]


@pytest.mark.parametrize("fields", BOMBS, ids=str)
def test_a_config_that_calls_for_more_than_is_stored(folder: Path, fields: dict[str, Any]) -> None:
    change(folder, **fields)
    for load in (inspect_model, load_model, open_streamed):
        started = time.process_time()
        with pytest.raises(ModelProblem, match=r"config\.json"):
            load(str(folder))
        assert time.process_time() - started < 5


def test_a_model_of_too_many_parts_is_not_built(folder: Path, tmp_path: Path) -> None:
    """Sizes that no name gives away, here experts: the building stops by count."""
    change(
        folder, model_type="qwen2_moe", architectures=["Qwen2MoeForCausalLM"], num_experts=4, is_causal=None,
        mlp_only_layers=[], decoder_sparse_step=1, moe_intermediate_size=8, shared_expert_intermediate_size=8,
    )  # fmt: skip
    from sap_core.models import reading

    before = reading.MODULES_ANYWAY, reading.MODULES_PER_TENSOR
    try:
        reading.MODULES_ANYWAY, reading.MODULES_PER_TENSOR = 10, 0
        with pytest.raises(ModelProblem, match="more than 10 modules"):
            load_model(str(folder), causal=True)
    finally:
        reading.MODULES_ANYWAY, reading.MODULES_PER_TENSOR = before


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"]
)
def test_what_is_no_file(folder: Path, name: str, kind: str) -> None:
    import os

    (folder / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to(name)
    with pytest.raises(ModelProblem, match=r"no regular file|no config\.json"):
        load_model(str(folder))


def test_a_private_file_that_a_link_leads_to_is_not_carried_away(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("secret")
    (folder / "notes.txt").symlink_to(tmp_path / "private.txt")
    load_model(str(folder)).save(tmp_path / "out")
    assert not (tmp_path / "out" / "notes.txt").exists()
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_an_adapter_beside_the_weights(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelProblem, match="give its base model, and this folder as adapter"):
        load_model(str(folder))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "model_type architectures num_hidden_layers num_attention_heads num_key_value_heads hidden_size head_dim "
    "intermediate_size vocab_size max_position_embeddings mask_token_id pad_token_id eos_token_id is_causal dtype "
    "torch_dtype text_config quantization_config auto_map per_layer_config block_size rope_parameters rope_scaling "
    "rms_norm_eps hidden_act tie_word_embeddings sap_objective attention_bias initializer_range layer_types "
    "sliding_window num_experts mlp_only_layers"
).split()
TYPES = ("llama", "llada", "Dream", "a2d-llama", "sdar", "bert", "gpt2", "qwen3_moe", "llada2_moe", "mdlm", "gemma")


@QUICK
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), JUNK, min_size=1, max_size=3),
    model_type=st.none() | st.sampled_from(TYPES),
)
@pytest.mark.slow
def test_any_config_is_described_or_refused(folder: Path, fields: dict[str, Any], model_type: str | None) -> None:
    original = (folder / "config.json").read_text()
    try:
        change(folder, **{**({"model_type": model_type} if model_type else {}), **fields})
        try:
            load_model(str(folder))
        except InvalidInput as error:
            assert "\n" not in str(error)
    finally:
        (folder / "config.json").write_text(original)


@QUICK
@given(
    name=st.sampled_from(["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]),
    fields=st.dictionaries(
        st.sampled_from(
            ["added_tokens_decoder", "mask_token", "chat_template", "tokenizer_class", "eos_token", "auto_map",
             "model_max_length", "extra_special_tokens", "temperature", "max_length"]
        ),
        JUNK, min_size=1, max_size=3,
    ),
)  # fmt: skip
@pytest.mark.slow
def test_any_tokenizer_config_is_read_or_refused(folder: Path, name: str, fields: dict[str, Any]) -> None:
    path = folder / name
    original = path.read_text() if path.exists() else None
    try:
        path.write_text(json.dumps({**json.loads(original or "{}"), **fields}))
        try:
            load_model(str(folder))
        except InvalidInput as error:
            assert "\n" not in str(error)
    finally:
        path.write_text(original) if original is not None else path.unlink()


@QUICK
@given(
    fields=st.dictionaries(
        st.sampled_from("normalizer pre_tokenizer post_processor decoder model added_tokens padding".split()),
        JUNK, min_size=1, max_size=2,
    )
)  # fmt: skip
@pytest.mark.slow
def test_any_tokenizer_is_read_or_refused(folder: Path, fields: dict[str, Any]) -> None:
    path = folder / "tokenizer.json"
    original = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(original), **fields}))
        try:
            load_model(str(folder)).encode("w1 w2")
        except InvalidInput as error:
            assert "\n" not in str(error)
    finally:
        path.write_text(original)
