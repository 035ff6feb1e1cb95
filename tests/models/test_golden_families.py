"""Every golden family: the published code's logits, recording, pruning, and its format written back bit for bit."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from chosen import mostly_slow
from golden_families import CASES, MASK, checkpoint, expected
from safetensors.torch import load_file

from sap_core.attention.recorder import record_attention
from sap_core.models import load_model
from sap_core.pruning.api import prune


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("golden")
    return cache(lambda name: checkpoint(name, root / name))


@pytest.fixture(scope="module")
def model(folder):
    return cache(lambda name: load_model(str(folder(name)), device="cpu"))


@pytest.mark.parametrize("name", CASES)
def test_logits_are_the_published_codes(name: str, model) -> None:
    loaded, stored = model(name), expected(name)
    assert (loaded.info.family, loaded.check_masked()) == (CASES[name].family, MASK)
    found = loaded.logits(stored["input_ids"].long())
    torch.testing.assert_close(found, stored[CASES[name].logits], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", mostly_slow(CASES))
def test_recording_changes_nothing(name: str, model) -> None:
    ids = expected(name)["input_ids"].long()
    plain = model(name).logits(ids)
    with record_attention(model(name)) as recorder:
        assert torch.equal(model(name).logits(ids), plain)
        found = recorder.collect()
    assert found.received.shape[1] == model(name).info.layers
    torch.testing.assert_close(found.received.sum(-1), torch.ones(found.received.shape[:-1]))


@pytest.mark.parametrize("name", mostly_slow(CASES))
def test_the_format_comes_back_bit_for_bit(name: str, model, folder, tmp_path: Path) -> None:
    before = load_file(folder(name) / "model.safetensors")
    load_model(str(folder(name)), device="cpu").save(tmp_path / "whole")
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    assert whole.keys() == before.keys() and all(torch.equal(whole[key], before[key]) for key in before)
    pruned = prune(model(name), method="magnitude", pattern="2:4").model
    pruned.save(tmp_path / "pruned")
    after = load_file(tmp_path / "pruned" / "model.safetensors")
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    for part in ("whole", "pruned"):
        assert (tmp_path / part / "config.json").read_bytes() == (folder(name) / "config.json").read_bytes()
    touched = {pruned.info.keys[key] for key in before if not torch.equal(before[key], after[key])}
    assert touched == {f"{matrix.name}.weight" for matrix in pruned.info.matrices}
    ids = expected(name)["input_ids"].long()
    assert torch.equal(load_model(str(tmp_path / "pruned"), device="cpu").logits(ids), pruned.logits(ids))


@pytest.mark.parametrize("name", ["llada2", "rnd1"])
def test_every_expert_is_prunable_and_no_router_is(name: str, model) -> None:
    info = model(name).info
    names = [matrix.name for matrix in info.matrices]
    experts = [name for name in names if ".experts." in name]
    sparse = info.layers - info.config.get("first_k_dense_replace", 0)
    assert len(experts) == 3 * 8 * sparse
    assert not [name for name in names if name.endswith(("mlp.gate", "embeddings", "lm_head"))]
    assert sum("shared_experts" in name for name in names) == (3 * sparse if name == "llada2" else 0)


@pytest.mark.parametrize("name", ["llada2", "sdar", "fast_dllm_v2", "a2d-blocks"])
def test_one_block_computed_alone_is_that_of_the_whole_text(name: str, model) -> None:
    loaded, ids = model(name), expected(name)["input_ids"].long()
    size, memory = loaded.info.block_size, {}
    whole = loaded.logits(ids)
    columns = torch.arange(ids.shape[1])
    for block in range(ids.shape[1] // size):
        span = columns // size == block
        torch.testing.assert_close(loaded.span_logits(ids, span, memory), whole[:, span], atol=2e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llada2", "rnd1"])
def test_methods_that_look_at_inputs_prune_every_expert(name: str, model, tmp_path: Path) -> None:
    import numpy as np

    ids = tmp_path / "ids.npy"
    np.save(ids, expected(name)["input_ids"].long().numpy())
    for method in ("wanda", "sparsegpt"):
        pruned = prune(model(name), method=method, sparsity=0.5, calibration=str(ids)).model
        for layer in range(pruned.info.layers):
            for matrix, linear in pruned.linears(layer).items():
                share = float((linear.weight == 0).float().mean())
                assert share == pytest.approx(0.5, abs=0.02), (method, matrix)
