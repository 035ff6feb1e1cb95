"""Quantized exports: what is on disk stands for exactly the weights in memory, for readers that are not ours."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import sap_core as sap
from sap_core.cli import main
from sap_core.errors import InvalidInput
from sap_core.export.verify import verify_checkpoint
from sap_core.models.packed import Grid
from sap_core.models.packing import nearest, on_grid, pack, unpack
from sap_core.pruning.scoring.grid_scales import scales_of
from sap_core.pruning.scoring.sparsegpt import solve, solve_on_grid


def matrices(model):
    return {name: module.weight for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_numbers_are_those_of_compressed_tensors(bits):
    reader = pytest.importorskip("compressed_tensors.compressors")
    grid, generator = Grid(bits, 32), torch.Generator().manual_seed(0)
    numbers = torch.randint(grid.lowest, -grid.lowest, (6, 64), generator=generator, dtype=torch.int8)
    packed = pack(numbers, grid)
    assert torch.equal(unpack(packed, grid), numbers)
    assert torch.equal(packed, reader.pack_to_int32(numbers, bits))
    assert torch.equal(reader.unpack_from_int32(packed, bits, numbers.shape), numbers)


def test_the_solver_by_a_plain_loop_over_columns():
    """GPTQ and SparseGPT, columns one by one with the whole inverse updated, must give the same weights."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(200, 64, generator=generator) @ torch.randn(64, 64, generator=generator)
    weight, hessian, grid = torch.randn(8, 64, generator=generator), inputs.T @ inputs, Grid(4, 32)
    removed = torch.rand(8, 64, generator=generator) < 0.5
    found, _ = solve_on_grid(weight, hessian.clone(), grid, removed=removed)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(64)
    inverse, left = torch.linalg.inv(damped.double()), weight.double().clone()
    for j in range(64):
        if j % 32 == 0:
            scale = scales_of(left[:, j : j + 32].float(), grid)[:, 0].double()
        rounded = (left[:, j] / scale).round().clamp(-8, 7) * scale
        target = torch.where(removed[:, j], 0.0, rounded)
        before = left[:, :j].clone()
        left -= ((left[:, j] - target) / inverse[j, j])[:, None] * inverse[j]
        left[:, j] = target
        left[:, :j] = before
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    assert bool((found[removed] == 0).all())
    assert torch.allclose(found, left.float(), atol=1e-4)
    plain = on_grid(nearest(weight, scales_of(weight, grid), grid), scales_of(weight, grid)).masked_fill(removed, 0)

    def loss(other):
        return float(((other - weight) @ hessian * (other - weight)).sum())

    assert loss(found) < 0.8 * loss(plain)


def test_without_removal_on_a_fine_grid_nothing_changes_and_joint_removes_as_many():
    generator = torch.Generator().manual_seed(2)
    inputs, weight = torch.randn(200, 128, generator=generator), torch.randn(16, 128, generator=generator)
    hessian = inputs.T @ inputs
    fine, _ = solve_on_grid(weight, hessian.clone(), Grid(8, 128))
    assert float((fine - weight).abs().max()) < 0.1
    from sap_core.choices.patterns import parse_pattern

    for pattern in ("unstructured", "2:4"):
        rule = parse_pattern(pattern)
        joint, _ = solve_on_grid(weight, hessian.clone(), Grid(8, 128), sparsity=0.5, pattern=rule)
        alone = solve(weight, hessian.clone(), 0.5, rule)
        assert abs(int((joint == 0).sum()) - int((alone == 0).sum())) < 40  # small weights round to zero, too
        assert float(((joint != 0) == (alone != 0)).float().mean()) > 0.97


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(" ".join(f"w{(7 * i + 3 * j) % 92}" for j in range(16)) for i in range(24)))
    return str(path)


@pytest.mark.parametrize(
    ("options", "sparse"),
    [
        ({"method": "magnitude", "sparsity": 0.5, "quantize": "int4"}, True),
        ({"method": "sparsegpt", "sparsity": 0.5, "pattern": "2:4", "quantize": "int4"}, True),
        ({"method": "magnitude", "sparsity": 0.0, "quantize": "int8", "quantize_by": "rounding"}, False),
        ({"method": "magnitude", "pattern": "channels", "sparsity": 0.5, "quantize": "int8"}, False),
    ],
)
def test_an_export_gives_the_same_weights_back(tiny_diffusion, texts, tmp_path, options, sparse):
    given = {} if options.get("quantize_by") == "rounding" else {"calibration": texts, "samples": 8, "noise_levels": 3}
    pruned = sap.prune(str(tiny_diffusion), **options, **given)
    sap.export_checkpoint(pruned, tmp_path / "small", verify=False)
    stored = load_file(tmp_path / "small" / "model.safetensors")
    assert stored["model.layers.0.mlp.down_proj.weight_packed"].dtype == torch.int32
    again = sap.load_model(str(tmp_path / "small"))
    assert again.info.matrices == pruned.model.info.matrices and again.info.no_pruning
    for name, weight in matrices(pruned.model).items():
        assert torch.equal(matrices(again)[name], weight), name
        assert not sparse or int((weight == 0).sum()) >= weight.numel() // 2
    tokens = torch.randint(0, 96, (1, 12))
    assert torch.equal(again.logits(tokens), pruned.model.logits(tokens))
    report = pruned.report["quantized"]
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in stored.items()}
    assert report["bytes"] == sum(size for name, size in sizes.items() if name.endswith(("_packed", "_scale")))
    assert report["bytes"] < report["bytes_before"] / (4 if options["quantize"] == "int4" else 2)
    run = sap.capture(again, prompt="w1 w2", length=16, steps=2, out=tmp_path / "run")
    assert run.state == "finished"


@pytest.mark.slow
def test_pruned_healed_and_quantized_it_loads_in_stock_transformers(tiny_diffusion, texts, tmp_path):
    pytest.importorskip("compressed_tensors")
    base = ["--calibration", texts, "--samples", "4", "--noise-levels", "2"]
    command = ["prune", "--model", str(tiny_diffusion), "--method", "sparsegpt", "--quantize", "int4", *base]
    assert main([*command, "--out", str(tmp_path / "small")]) == 0
    found = json.loads((tmp_path / "small" / "sap_manifest.json").read_text())["verification"]
    assert found["equal"] and found["loader"] == "transformers" and not found["own_package_imported"]
    assert "int4, groups of 32 inputs, by second-order solver" in (tmp_path / "small" / "README.md").read_text()
    stored = load_file(tmp_path / "small" / "model.safetensors")
    stored["model.layers.1.mlp.up_proj.weight_packed"][0, 0] ^= 1 << 30
    from safetensors.torch import save_file

    save_file(stored, tmp_path / "small" / "model.safetensors", metadata={"format": "pt"})
    assert not verify_checkpoint(tmp_path / "small")["equal"], "the check can fail"


def test_what_can_not_be_quantized_is_refused(tiny_diffusion, texts, tmp_path):
    with pytest.raises(InvalidInput, match="quantize_by belongs to quantize"):
        sap.prune(str(tiny_diffusion), method="magnitude", quantize_by="rounding")
    with pytest.raises(InvalidInput, match="search"):
        sap.prune(str(tiny_diffusion), method="magnitude", preset="balanced", quantize="int4")
    with pytest.raises(InvalidInput, match="streamed"):
        sap.prune_checkpoint(str(tiny_diffusion), tmp_path / "out", method="magnitude", quantize="int4")
    quantized = sap.prune(str(tiny_diffusion), method="magnitude", quantize="int8", quantize_by="rounding").model
    for action in (
        lambda: sap.prune(quantized, method="magnitude"),
        lambda: sap.heal(quantized, quantized, text=texts),
    ):
        with pytest.raises(InvalidInput, match="quantize"):
            action()
