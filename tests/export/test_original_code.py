"""The publisher's code: carried by exports byte for byte, never run by itself, compared with on request."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import GOLDEN

from sap_core.errors import InvalidInput, OperationFailed
from sap_core.export.checkpoint import export_checkpoint
from sap_core.export.verify import verify_checkpoint
from sap_core.jobs.cache import ModelCache
from sap_core.jobs.execute import execute
from sap_core.models import remote
from sap_core.models.code_files import code_files
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.runs.reading import open_run
from sap_core.specs import VerifySpec

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
from transformers import PretrainedConfig

class TinyConfig(PretrainedConfig):
    model_type = "llada"
"""
# A file that the modelling file imports and config.json does not name.
ROTARY = """
import torch

def turn(x, base):
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * base ** (-torch.arange(half).double() / half)
    sin, cos = angles.sin().to(x.dtype), angles.cos().to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)
"""
MODELING = """
import pathlib

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from .configuration_tiny import TinyConfig
from .rotary_tiny import turn

class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv, self.base = c.n_heads, c.n_kv_heads or c.n_heads, c.rope_theta
        size = c.d_model // c.n_heads
        self.attn_norm, self.ff_norm = (nn.RMSNorm(c.d_model, eps=c.rms_norm_eps) for _ in range(2))
        self.q_proj = nn.Linear(c.d_model, c.d_model, bias=False)
        self.k_proj = nn.Linear(c.d_model, self.kv * size, bias=False)
        self.v_proj = nn.Linear(c.d_model, self.kv * size, bias=False)
        self.attn_out = nn.Linear(c.d_model, c.d_model, bias=False)
        self.ff_proj = nn.Linear(c.d_model, c.mlp_hidden_size, bias=False)
        self.up_proj = nn.Linear(c.d_model, c.mlp_hidden_size, bias=False)
        self.ff_out = nn.Linear(c.mlp_hidden_size, c.d_model, bias=False)

    def forward(self, x):
        h = self.attn_norm(x)
        parts = (self.q_proj(h), self.k_proj(h), self.v_proj(h))
        q, k, v = (p.unflatten(-1, (n, -1)).transpose(1, 2) for p, n in zip(parts, (self.heads, self.kv, self.kv)))
        k, v = (p.repeat_interleave(self.heads // self.kv, 1) for p in (k, v))
        out = F.scaled_dot_product_attention(turn(q, self.base), turn(k, self.base), v)
        x = x + self.attn_out(out.transpose(1, 2).flatten(2))
        h = self.ff_norm(x)
        return x + self.ff_out(F.silu(self.ff_proj(h)) * self.up_proj(h))

class Inner(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(c.embedding_size or c.vocab_size, c.d_model),
            blocks=nn.ModuleList(Block(c) for _ in range(c.n_layers)),
            ln_f=nn.RMSNorm(c.d_model, eps=c.rms_norm_eps),
            ff_out=nn.Linear(c.d_model, c.embedding_size or c.vocab_size, bias=False),
        ))

class TinyForMaskedDiffusion(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = Inner(config)
        pathlib.Path(MARK).touch()

    def forward(self, input_ids, attention_mask=None):
        t = self.model.transformer
        x = t["wte"](input_ids)
        for block in t["blocks"]:
            x = block(x)
        return (t["ff_out"](t["ln_f"](x)),)
"""
AUTO_MAP = {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyForMaskedDiffusion"}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Is there once the code has run."""
    return tmp_path / "ran"


@pytest.fixture
def published(tmp_path: Path, mark: Path) -> Path:
    """A tiny LLaDA with code of its own, and files that are none of it."""
    folder = tmp_path / "published"
    shutil.copytree(GOLDEN / "tiny-llada", folder)
    files = {"configuration_tiny.py": CONFIGURATION, "rotary_tiny.py": ROTARY, "setup.py": "raise SystemExit"}
    for name, text in {**files, "modeling_tiny.py": f"MARK = {str(mark)!r}\n{MODELING}"}.items():
        (folder / name).write_bytes(text.replace("\n", "\r\n").encode())  # bytes are kept, line ends too
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": AUTO_MAP}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


CARRIED = ("configuration_tiny.py", "modeling_tiny.py", "rotary_tiny.py")


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["unstructured", "channels", "layers"])
def test_an_export_carries_the_code_and_it_computes_the_same(
    pattern: str, published: Path, mark: Path, tmp_path: Path
) -> None:
    pruned = prune(str(published), method="random" if pattern != "unstructured" else "magnitude", pattern=pattern)
    out = export_checkpoint(pruned, tmp_path / "out", verify=False).folder
    assert not mark.exists()
    assert sorted(path.name for path in out.glob("*.py")) == sorted(CARRIED)
    assert all((out / name).read_bytes() == (published / name).read_bytes() for name in CARRIED)
    assert "`modeling_tiny.py`" in (out / "README.md").read_text()
    found = verify_checkpoint(out, original_code=True, trust_remote_code=True)
    assert mark.exists()
    assert (found["loader"], found["class"], found["equal"]) == ("original", "TinyForMaskedDiffusion", True)
    if pattern != "channels":
        return
    text = (out / "modeling_tiny.py").read_text()
    (out / "modeling_tiny.py").write_text(text.replace("x = x + self.attn_out", "x = x - self.attn_out"))
    spec = VerifySpec.build(folder=str(out), original_code=True, trust_remote_code=True)  # as the studio does it
    assert open_run(execute(spec, tmp_path / "run", ModelCache(0), lambda _: None)).result["equal"] is False


def test_a_lack_of_memory_is_no_fault_of_the_code(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(torch.nn.Module):
        def forward(self, tokens):
            raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(remote, "read_remote", lambda *_: Large())
    with pytest.raises(torch.OutOfMemoryError):
        remote.original_logits(str(published), torch.tensor([[1, 2]]))


def sap(*words: str, **environment: str) -> subprocess.CompletedProcess:
    place = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "sap_core.cli", *words]
    return subprocess.run(command, input="y\n" * 5, capture_output=True, text=True, env=place)


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_the_command_asks_for_consent_and_for_files_that_are_not_there(
    published: Path, mark: Path, tmp_path: Path
) -> None:
    out = export_checkpoint(load_model(str(published)), tmp_path / "out").folder
    asked = sap("verify", str(out), "--original-code")
    assert (
        asked.returncode == 2 and "modeling_tiny.py (sha256" in asked.stderr and "--trust-remote-code" in asked.stderr
    )
    assert sap("verify", str(out), "--trust-remote-code").returncode == 2
    assert not mark.exists()
    done = sap("verify", str(out), "--original-code", "--trust-remote-code", HF_MODULES_CACHE=str(tmp_path / "modules"))
    assert done.returncode == 0 and mark.exists() and not (tmp_path / "modules").exists()
    (out / "rotary_tiny.py").unlink()
    lacking = sap("verify", str(out), "--original-code", "--trust-remote-code")
    assert (
        lacking.returncode == 2 and "lacks Python files that its config.json names (rotary_tiny.py)" in lacking.stderr
    )


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_what_is_broken_is_named(published: Path, tmp_path: Path) -> None:
    out = export_checkpoint(load_model(str(published)), tmp_path / "out", verify=False).folder
    modeling = (out / "modeling_tiny.py").read_text()
    for line, words in (
        ("import no_such_package_here", "packages that are not installed here: no_such_package_here"),
        ("from transformers import NoSuchThing", r"fails on transformers [\d.]+, and was written for"),
    ):
        (out / "modeling_tiny.py").write_text(f"{line}\n{modeling}")
        config = json.loads((out / "config.json").read_text()) | {"transformers_version": "4.46.2"}
        (out / "config.json").write_text(json.dumps(config))
        with pytest.raises(OperationFailed, match=words):
            verify_checkpoint(out, original_code=True, trust_remote_code=True)


def test_a_folder_without_code_says_where_it_is(tmp_path: Path, published: Path) -> None:
    plain = export_checkpoint(load_model(str(GOLDEN / "tiny-llada")), tmp_path / "plain", verify=False).folder
    with pytest.raises(InvalidInput, match=r"names \(configuration_llada.py, modeling_llada.py\); download them"):
        verify_checkpoint(plain, original_code=True, trust_remote_code=True)
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "auto_map"}))
    with pytest.raises(InvalidInput, match="names no model class in auto_map"):
        verify_checkpoint(plain, original_code=True, trust_remote_code=True)
    (published / "modeling_tiny.py").unlink()
    config = json.loads((published / "config.json").read_text())
    config["auto_map"]["AutoModelForCausalLM"] = "some/model--modeling_other.Other"
    (published / "config.json").write_text(json.dumps(config))
    out = export_checkpoint(load_model(str(published)), tmp_path / "out", verify=False).folder
    card = (out / "README.md").read_text()
    assert "names `modeling_tiny.py` as the original's code, which this folder does not have" in card
    assert f"download it from `{published}`" in card
    assert "fetched from there: `some/model`" in card


def test_only_what_is_named_is_code(published: Path) -> None:
    (published / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": ["tokenization_tiny.Tiny", null]}}'
    )
    (published / "tokenization_tiny.py").write_text("from . import helper_tiny\nfrom ..outside import x\nimport os\n")
    (published / "helper_tiny.py").write_bytes(b"\xff\xfe not text: (")
    found = code_files(published)
    assert set(found.here) == {*CARRIED, "tokenization_tiny.py", "helper_tiny.py"} and not found.missing
    (published / "helper_tiny.py").write_bytes(b"#" * (1 << 20) + b"#")
    assert code_files(published).missing == ("helper_tiny.py",)
    named = {"auto_map": {"AutoModel": "../../etc/passwd.X", "AutoConfig": 3, "AutoTokenizer": ["a b.C", None]}}
    assert not code_files(published.parent, named)


def test_a_hub_download_brings_the_code_of_a_native_family(published: Path, tmp_path: Path, monkeypatch) -> None:
    """Of what the repository holds, the named files alone, and none that is larger than any real one."""
    import huggingface_hub

    from sap_core.models import source

    cache = tmp_path / "cache" / ("0" * 40)
    asked: list[str] = []

    def snapshot(ref: str, allow_patterns: list[str]) -> str:
        assert not any(pattern.endswith(".py") for pattern in allow_patterns)
        shutil.copytree(published, cache, ignore=shutil.ignore_patterns("*.py"))
        return str(cache)

    def fetched(ref: str, name: str, revision: str) -> str:
        assert revision == cache.name
        asked.append(name)
        return str(shutil.copy(published / name, cache / name))

    class Facts:
        size = 100

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url: Facts)
    assert source.download("some/model") == cache
    assert sorted(asked) == sorted(CARRIED)
    shutil.rmtree(cache)
    Facts.size = 1 << 21
    source.download("some/model")
    assert code_files(cache).missing == ("configuration_tiny.py", "modeling_tiny.py")
    assert torch.equal(*(load_model(str(folder)).logits(torch.arange(6)[None]) for folder in (published, cache)))
