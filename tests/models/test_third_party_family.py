"""A family added from outside the package: recognised, loaded, sampled, saved and listed like any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sap_core.errors import InvalidInput
from sap_core.models.family import Family
from sap_core.models.family_registry import FAMILIES, families_table, register_family
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions


@pytest.fixture
def quill() -> Family:
    family = Family(
        name="quill",
        title="Quill",
        examples="a model of somebody else",
        objective="masked_diffusion",
        matches=lambda config: config.get("model_type") == "quill",
        native_config=lambda config: {**config["body"], "model_type": "llama", "is_causal": False},
        architecture="LlamaForCausalLM",
        key_mapping=((r"^quill\.", "model."), (r"^out\.", "lm_head.")),
        samplers=("random", "low_confidence"),
    )
    yield register_family(family)
    del FAMILIES["quill"]


def test_from_outside(quill: Family, tiny_diffusion: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(tiny_diffusion, tmp_path / "in"))
    body = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({"model_type": "quill", "body": body}))
    tensors = {
        key.replace("model.", "quill.", 1).replace("lm_head.", "out."): value
        for key, value in load_file(source / "model.safetensors").items()
    }
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    ids = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
    assert inspect_model(str(source)).family == "quill" and families_table()[0]["family"] == "quill"
    model = load_model(str(source), device="cpu")
    assert torch.equal(model.logits(ids), load_model(str(tiny_diffusion), device="cpu").logits(ids))
    spec = SamplingOptions.build(length=8, steps=3)
    assert len(list(sample(model, build_canvas(model, ["w1"], 8), spec))) == 3
    model.save(tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == tensors.keys()
    assert torch.equal(load_model(str(tmp_path / "out"), device="cpu").logits(ids), model.logits(ids))
    with pytest.raises(InvalidInput, match="A family named 'quill' exists"):
        register_family(quill)


def test_an_installed_package_adds_its_family_to_every_door(tmp_path: Path) -> None:
    """By an entry point; one that fails is told and does no harm."""
    (tmp_path / "quills.py").write_text(
        "from sap_core.models import Family\n"
        "QUILL = Family(name='quill', title='Quill', examples='quill-1b', objective='masked_diffusion',\n"
        "               matches=lambda config: config.get('model_type') == 'quill', samplers=('random',))\n"
    )
    package = tmp_path / "quills-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: quills\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[sap_core.families]\nbroken = nowhere:X\nquill = quills:QUILL\n")
    done = subprocess.run(
        [sys.executable, "-m", "sap_core.cli", "models", "--json"],
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["family"] == "quill"
    assert "Family 'broken' of an installed package: No module named 'nowhere'" in done.stderr
