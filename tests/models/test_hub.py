"""Hub ids: a cached model loads offline; a gated, missing or unreachable one is told apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, NotASafetensorsRepoError, RepositoryNotFoundError

from sap_core.errors import ModelProblem
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model

ANSWER = SimpleNamespace(headers={}, request=None, status_code=401)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_cached_model_loads_offline(cache: Path, tiny_diffusion: Path) -> None:
    repository = cache / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(tiny_diffusion, repository / "snapshots" / ("0" * 40))
    info = inspect_model("somebody/tiny")
    assert (info.family, info.mask_token_id, len(info.matrices)) == ("native-diffusion", 2, 21)
    ids = torch.randint(3, 96, (1, 8), generator=torch.Generator().manual_seed(0))
    expected = load_model(str(tiny_diffusion), device="cpu").logits(ids)
    assert torch.equal(load_model("somebody/tiny", device="cpu").logits(ids), expected)


def test_offline_and_not_cached(cache: Path) -> None:
    with pytest.raises(ModelProblem, match=r"the Hub can't be asked for it .*; go online, download it first"):
        inspect_model("somebody/other")


def test_nobody_there_is_told_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("[Errno 111] Connection refused")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("it would try for long"))
    with pytest.raises(ModelProblem, match=r"can't be asked for it \(\[Errno 111\] Connection refused\)"):
        inspect_model("somebody/other")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError("gated", response=ANSWER), "somebody/tiny is gated: accept its terms"),
        (RepositoryNotFoundError("missing", response=ANSWER), "no public Hub model of that name"),
        (NotASafetensorsRepoError("pickled"), "has no safetensors weights; pickled weights are refused"),
        (ConnectionError("no route to host"), r"can't be asked for it \(no route to host\)"),
    ],
    ids=["gated", "missing", "pickled", "unreachable"],
)
def test_what_the_hub_answers(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    with pytest.raises(ModelProblem, match=message) as caught:
        inspect_model("somebody/tiny")
    assert "\n" not in str(caught.value)
