"""Verification in a fresh process runs no code of the folder and asks nobody, whatever the folder names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sap_core.errors import InvalidInput
from sap_core.export.checkpoint import export_checkpoint
from sap_core.export.verify import EXPECTED, verify_checkpoint
from sap_core.models.loading import load_model
from sap_core.models.per_layer import CODE, brings_own_code, code_of, config_entries

ROOT = Path(__file__).parents[2]


@pytest.fixture
def export(tiny_causal: Path, tmp_path: Path) -> Path:
    """A sound export."""
    return export_checkpoint(load_model(str(tiny_causal)), tmp_path / "export", verify=False).folder


def hostile_tokenizer(folder: Path, mark: Path) -> None:
    path = folder / "tokenizer_config.json"
    evil = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **evil}))
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    code += "from transformers import PreTrainedTokenizerFast\nclass Evil(PreTrainedTokenizerFast): pass\n"
    (folder / "evil.py").write_text(code)


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_a_tokenizer_with_code_is_verified_without_running_it(export: Path, tmp_path: Path) -> None:
    """Also where somebody's standard input holds a yes."""
    hostile_tokenizer(export, tmp_path / "ran")
    code = "from sap_core.export.verify import verify_checkpoint as v; import sys; print(v(sys.argv[1])['equal'])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(export)], input="y\n" * 5, capture_output=True, text=True, env=environment
    )
    assert not (tmp_path / "ran").exists()
    assert done.stdout.split() == ["True"], done.stderr


def test_consent_to_our_own_modelling_file_is_no_consent_to_other_code(tmp_path: Path) -> None:
    config = {"model_type": "llama", "per_layer_config": {"0": {}}}
    config |= config_entries(config, "x")
    (tmp_path / CODE).write_text(code_of(config, "x"))
    assert brings_own_code(tmp_path, config)
    other = {**config, "auto_map": {**config["auto_map"], "AutoTokenizer": ["evil.Evil", None]}}
    assert not brings_own_code(tmp_path, other)
    (tmp_path / "custom_generate").mkdir()
    (tmp_path / "custom_generate" / "generate.py").write_text("")
    assert not brings_own_code(tmp_path, config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"attn_implementation": "evil/kernels"}, "fetch and run kernels"), ({"num_hidden_layers": 10**9}, "layers")],
)
def test_a_config_that_a_loader_should_not_see(export: Path, fields: dict, message: str) -> None:
    path = export / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(InvalidInput, match=message):
        verify_checkpoint(export)


def test_expected_logits_that_are_none(export: Path, tmp_path: Path) -> None:
    shutil.copy(export / "model.safetensors", export / EXPECTED)
    with pytest.raises(InvalidInput, match="tokens and logits of an export"):
        verify_checkpoint(export)
    (export / EXPECTED).write_bytes(b"\x05")
    with pytest.raises(InvalidInput, match="not a safetensors file"):
        verify_checkpoint(export)
