"""Whole experts out of mixtures: scores by hand, the same number everywhere, and formats that load again."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from chosen import mostly_slow
from golden_families import checkpoint, expected
from safetensors.torch import load_file
from tiny_families import made
from tiny_models import save_word_tokenizer

from sap_core.errors import InvalidInput
from sap_core.export.verify import loads_with
from sap_core.models.layout import Matrix, expert_counts
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.scoring.calibration import Calibration
from sap_core.pruning.scoring.inputs import Inputs
from sap_core.pruning.structured.expert_scores import expert_scores
from sap_core.pruning.structured.unit_choice import lowest_experts

IDS = torch.randint(4, 96, (2, 16), generator=torch.Generator().manual_seed(0))
MIXTURES = ["llada2", "rnd1", "llada-moe", "sdar-moe", "native-qwen3-moe", "mixtral"]


def mixtral(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=96, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=6, num_experts_per_tok=2, max_position_embeddings=64,
        initializer_range=0.2, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    transformers.MixtralForCausalLM(config).save_pretrained(folder)
    save_word_tokenizer(folder, mask=False)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("mixtures")

    @cache
    def find(name: str) -> Path:
        path = root / name
        if name == "mixtral":
            return mixtral(path)
        return checkpoint(name, path) if name in ("llada2", "rnd1") else made(name, path)

    return find


@pytest.fixture(scope="module")
def model(folder):
    return cache(lambda name: load_model(str(folder(name)), device="cpu"))


@pytest.fixture
def texts(tmp_path: Path):
    def write(name: str) -> str:
        ids = expected(name)["input_ids"].long() if name in ("llada2", "rnd1") else IDS
        np.save(tmp_path / "ids.npy", ids.numpy())
        return str(tmp_path / "ids.npy")

    return write


@pytest.mark.parametrize("method", mostly_slow(["reap", "expert_frequency", "noised_reap", "random"], 1))
@pytest.mark.parametrize("name", MIXTURES)
def test_a_third_goes_from_every_mixture_and_the_folder_loads(name: str, method: str, model, folder, texts, tmp_path):
    if name == "mixtral" and method == "noised_reap":
        pytest.skip("autoregressive: one noise level, none")
    dense = model(name)
    before = max(expert_counts(dense.info.matrices, dense.info.layers))
    share = 0.5 if name in ("llada2", "rnd1") else 1 / 3
    calibration = {} if method == "random" else {"calibration": texts(name)}
    result = prune(dense, method=method, pattern="experts", sparsity=share, **calibration)
    small, left = result.model, before - int(before * share + 1e-9)
    assert {count for count in expert_counts(small.info.matrices, small.info.layers) if count} == {left}
    assert small.info.parameters < dense.info.parameters
    assert result.report["removed"]["unit"] == "experts"
    small.save(tmp_path / "small")
    stored = load_file(tmp_path / "small" / "model.safetensors")
    original = load_file(folder(name) / "model.safetensors")
    assert stored.keys() < original.keys()
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert {config[key] for key in ("num_experts", "num_local_experts") if key in config} == {left}
    again = load_model(str(tmp_path / "small"), device="cpu")
    torch.testing.assert_close(again.logits(IDS), small.logits(IDS), atol=1e-5, rtol=1e-4)
    # What is left of a mixture are the experts and router rows that stayed, bit for bit.
    gone = result.report["removed"]["per_layer"]
    for key, value in stored.items():
        if ".experts." not in key and not key.endswith(("mlp.gate.weight", "block_sparse_moe.gate.weight")):
            if not key.endswith("expert_bias"):
                assert torch.equal(value, original[key])
            continue
        layer = int(key.split("layers.")[1].split(".")[0])
        kept = [number for number in range(before) if number not in gone[layer]]
        if ".experts." in key:
            head, _, rest = key.partition(".experts.")
            number, _, rest = rest.partition(".")
            assert torch.equal(value, original[f"{head}.experts.{kept[int(number)]}.{rest}"])
        else:
            assert torch.equal(value, original[key][kept])


def test_the_router_loses_nothing_but_the_rows_of_what_goes(model, texts) -> None:
    """Experts that no token is sent to can go without a trace, as long as the router's choice stays the same."""
    dense = model("native-qwen3-moe").clone()
    for block in dense.blocks:
        block.mlp.gate.weight.data[:2] = 0
        block.mlp.gate.weight.data[0, 0] = block.mlp.gate.weight.data[1, 1] = -1e4
    plain = dense.logits(IDS)
    small = prune(dense, method="expert_frequency", pattern="experts", sparsity=1 / 3, calibration=texts("x")).model
    assert [len(block.mlp.experts) for block in small.blocks] == [4, 4]
    assert torch.isfinite(plain).all() and small.logits(IDS).shape == plain.shape


def test_scores_by_hand(model) -> None:
    """REAP and frequency of one layer, from the router's own output and each expert called on all tokens."""
    dense = model("native-qwen3-moe")
    calibration = Calibration(IDS.numpy(), np.ones(IDS.shape, bool), "test")
    block, seen = dense.blocks[0].mlp, []
    hook = block.register_forward_pre_hook(lambda module, args: seen.append(args[0].flatten(0, 1)))
    frequency, _ = expert_scores(dense, "frequency", Inputs(), calibration)
    hook.remove()
    reap, _ = expert_scores(dense, "reap", Inputs(), calibration)
    x = torch.cat(seen)
    _, share, chosen = block.gate(x)
    for number, expert in enumerate(block.experts):
        gets = (chosen == number).any(-1)
        weight = (share * (chosen == number)).sum(-1)[gets]
        expert.route(dense_route(gets))
        norms = expert(x[gets]).norm(dim=-1)
        assert float(frequency[0][number]) == pytest.approx(float(gets.float().mean()), rel=1e-5)
        assert float(reap[0][number]) == pytest.approx(float((weight * norms).mean()), rel=1e-4)


def dense_route(gets: torch.Tensor):
    from sap_core.models.experts import Routed

    return Routed(gets.nonzero()[:, 0], len(gets))


def test_padding_counts_for_nothing(model) -> None:
    dense, valid = model("native-qwen3-moe"), np.ones(IDS.shape, bool)
    valid[:, 10:] = False
    short = Calibration(IDS[:, :].numpy(), valid, "test")
    changed = IDS.clone()
    whole, _ = expert_scores(dense, "frequency", Inputs(), Calibration(changed.numpy(), np.ones(IDS.shape, bool), "t"))
    part, _ = expert_scores(dense, "frequency", Inputs(), short)
    assert all(float(layer.sum()) == pytest.approx(2, abs=1e-5) for layer in (*whole, *part))  # two experts a token
    assert not all(torch.equal(a, b) for a, b in zip(whole, part, strict=True))


def test_noise_levels_are_told_apart(model, texts) -> None:
    report = prune(
        model("rnd1"), method="noised_reap", pattern="experts", sparsity=0.5, calibration=texts("rnd1"), noise_levels=6
    ).report["removed"]
    assert [entry["layer"] for entry in report["levels"]] == [0, 1, 2]
    assert all(len(entry["early"]) == len(entry["late"]) and 0 <= entry["agreement"] <= 1 for entry in report["levels"])


def test_groups_of_a_router_lose_the_same_number_or_leave_whole(model, tmp_path: Path) -> None:
    """Four groups of two experts can't lose one each, since a group is ranked by its two best: whole groups leave."""
    with pytest.raises(InvalidInput, match=r"8 experts in 4 groups of 2 takes none out; give at least 0\.25"):
        prune(model("llada2"), method="random", pattern="experts", sparsity=0.2)
    result = prune(model("llada2"), method="random", pattern="experts", sparsity=0.3)
    assert all(
        not gone or (len(gone) == 2 and gone[1] == gone[0] + 1) for gone in result.report["removed"]["per_layer"]
    )
    assert {name: result.model.info.config[name] for name in ("num_experts", "n_group", "topk_group")} == {
        "num_experts": 6, "n_group": 3, "topk_group": 2,
    }  # fmt: skip
    scores = torch.tensor([3.0, 1, 2, 4, 9, 8, 7, 6, 0, 5, 11, 12])
    info = dataclasses.replace(model("llada2").info, native_config={"n_group": 2}, matrices=_twelve(1))
    assert lowest_experts(info, [scores], [4]) == [[1, 2, 8, 9]]


def _twelve(layers: int) -> tuple:
    names = (f"model.layers.{layer}.mlp.experts.{n}.up_proj" for layer in range(layers) for n in range(12))
    return tuple(Matrix(name, 0, 4, 4, "up") for name in names)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sparsity": 0.1}, r"of 6 experts takes none out; give at least 0\.167"),
        ({"sparsity": 0.9}, "leaves 1 of 6 experts, too few for a router that sends each token to 2"),
        ({"sparsity": 0.5, "allocation": "table"}, "pattern experts has none to share"),
        ({"sparsity": 0.5, "compensate": "bias"}, "compensate needs pattern heads or channels"),
    ],
)
def test_impossible_requests_are_refused(fields: dict, words: str, model) -> None:
    with pytest.raises(InvalidInput, match=words):
        prune(model("native-qwen3-moe"), method="random", pattern="experts", **fields)


def test_a_model_without_experts_says_what_it_supports(tmp_path: Path) -> None:
    dense = load_model(str(made("native-diffusion", tmp_path)), device="cpu")
    with pytest.raises(InvalidInput, match=r"pattern experts is not supported .* it supports: unstructured"):
        prune(dense, method="random", pattern="experts", sparsity=0.5)


def test_what_only_our_class_computes_is_not_said_to_load_in_stock_transformers(model) -> None:
    """LLaDA2's config.json keeps its published model type, which transformers would ask for remote code to load."""
    assert loads_with(model("llada2").info) == "sap_core"
    assert loads_with(model("mixtral").info) == "transformers"
