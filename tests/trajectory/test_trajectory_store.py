"""The store: what is written comes back, while it is being written too, and one layer is read without the others."""

import shutil

import numpy as np
import pytest
import zarr

from sap_core.errors import OperationFailed, RunProblem, UnknownOption
from sap_core.trajectory.access import by_layer, layers_of, received_by
from sap_core.trajectory.quantization import BOUND, MU
from sap_core.trajectory.store import VARIABLES, TrajectoryWriter, open_trajectory
from sap_core.trajectory.synthetic import synthetic_trajectory
from sap_core.trajectory.variables import MEANS, PRECISIONS, chunk_sizes

SIZES = {"steps": 5, "layers": 2, "heads": 3, "positions": 8}


def step_arrays(dataset, step):
    return {name: dataset[name].values[step] for name, row in VARIABLES.items() if row.dims[0] == "step"}


@pytest.fixture
def source():
    return synthetic_trajectory("mixed", **SIZES)


def write(path, source, steps=5):
    writer = TrajectoryWriter(path, **SIZES, attrs={"objective": "masked_diffusion"}, prompt=source["prompt"].values)
    for step in range(steps):
        writer.append(step, **step_arrays(source, step))
    return writer


def test_what_is_written_comes_back_with_its_names(tmp_path, source):
    write(tmp_path / "0.zarr", source).close(pieces="{}")
    found = open_trajectory(tmp_path / "0.zarr")
    assert dict(found.sizes) == {"step": 5, "layer": 2, "head": 3, "position": 8}
    assert found["received"].dims == ("step", "layer", "head", "position")
    assert found.attrs["pieces"] == "{}" and found.attrs["steps_total"] == 5 and found.attrs["schema"] == 2
    for name in VARIABLES:
        assert found[name].dtype == source[name].dtype
        np.testing.assert_array_equal(found[name].values, source[name].values)


def test_readable_while_it_is_written_and_after_it_stopped_early(tmp_path, source):
    path = tmp_path / "0.zarr"
    writer = TrajectoryWriter(path, **SIZES)
    assert open_trajectory(path).sizes["step"] == 0
    for step in range(3):
        writer.append(step, **step_arrays(source, step))
    writer.flush()
    half = open_trajectory(path)
    assert half.sizes["step"] == 3
    np.testing.assert_array_equal(half["received"].values, source["received"].values[:3])
    writer.append(3, **step_arrays(source, 3))
    writer.close()
    np.testing.assert_array_equal(open_trajectory(path)["token"].values, source["token"].values[:4])


def test_chunks_of_several_steps_are_filled_across_flushes(tmp_path, source, monkeypatch):
    monkeypatch.setattr("sap_core.trajectory.variables.CHUNK_STEPS", 2)
    write(tmp_path / "0.zarr", source).close()
    assert zarr.open_group(tmp_path / "0.zarr")["received"].chunks == (2, 2, 3, 8)
    np.testing.assert_array_equal(open_trajectory(tmp_path / "0.zarr")["received"].values, source["received"].values)


def test_writing_by_layer_equals_writing_by_step(tmp_path, source):
    path = tmp_path / "0.zarr"
    writer = TrajectoryWriter(path, **SIZES)
    for layer in range(2):
        arrays = {
            name: source[name].values[:, layer] for name in ("received", "received_masked", "entropy", "distance")
        }
        writer.write_layer(layer, 5, **arrays)
    writer.write_all(5, token=source["token"].values)
    assert open_trajectory(path).sizes["step"] == 0, "nothing is shown before it is complete"
    writer.mark(5)
    found = open_trajectory(path)
    for name in ("received", "received_masked", "entropy", "distance", "token"):
        np.testing.assert_array_equal(found[name].values, source[name].values)


def test_one_layer_is_read_without_the_others(tmp_path, source, monkeypatch):
    monkeypatch.setattr("sap_core.trajectory.variables.CHUNK_BYTES", 4 * 8 * 5)  # five rows: one layer, one head
    path = tmp_path / "0.zarr"
    write(path, source).close()
    shutil.rmtree(path / "received" / "c" / "0" / "1")  # the other layer's chunk is gone
    found = open_trajectory(path)["received"]
    np.testing.assert_array_equal(found.isel(layer=0).values, source["received"].values[:, 0])
    assert np.isnan(found.isel(layer=1).values).all()


def test_problems_are_named(tmp_path, source):
    with pytest.raises(RunProblem, match="No trajectory"):
        open_trajectory(tmp_path / "nowhere.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(RunProblem, match="not a trajectory"):
        open_trajectory(tmp_path / "other.zarr")
    writer = write(tmp_path / "0.zarr", source, steps=1)
    with pytest.raises(OperationFailed, match="another folder"):
        TrajectoryWriter(tmp_path / "0.zarr", **SIZES)
    with pytest.raises(ValueError, match="expected step 1"):
        writer.append(0)
    with pytest.raises(ValueError, match="received has shape"):
        writer.append(1, received=np.zeros((2, 3, 9)))
    writer.close(schema=3)
    with pytest.raises(RunProblem, match="format 3"):
        open_trajectory(tmp_path / "0.zarr")


def test_half_precision_is_read_as_float32_within_its_rounding(tmp_path, source):
    writer = TrajectoryWriter(tmp_path / "0.zarr", **SIZES, precision="float16")
    for step in range(5):
        writer.append(step, **step_arrays(source, step))
    writer.close()
    assert zarr.open_group(tmp_path / "0.zarr")["received"].dtype == np.float16
    found = open_trajectory(tmp_path / "0.zarr")
    for name in VARIABLES:
        assert found[name].dtype == source[name].dtype, name
    np.testing.assert_allclose(found["received"].values, source["received"].values, rtol=2**-11)
    np.testing.assert_array_equal(found["token"].values, source["token"].values)
    part = found["received"].isel(layer=1, step=slice(1, 4), head=[0, 2]).values
    assert part.dtype == np.float32 and part.shape == (3, 2, 8)
    np.testing.assert_array_equal(part, found["received"].values[1:4, 1][:, [0, 2]])


def noisy(steps=5, layers=2, heads=3, positions=8):
    received = np.random.default_rng(0).lognormal(0, 2, (steps, layers, heads, positions)).astype(np.float32)
    return received / received.sum(-1, keepdims=True)


@pytest.mark.parametrize("layerwise", [False, True])
def test_eight_bits_are_read_as_float32_within_their_stated_error(tmp_path, layerwise, monkeypatch):
    monkeypatch.setattr("sap_core.trajectory.variables.CHUNK_BYTES", 4 * 8 * 10)
    received = noisy()
    arrays = {"received": received, "received_masked": received / 3}
    writer = TrajectoryWriter(tmp_path / "0.zarr", **SIZES, precision="uint8")
    if layerwise:
        for layer in range(2):
            writer.write_layer(layer, 5, **{name: value[:, layer] for name, value in arrays.items()})
        writer.mark(5)
    else:
        for step in range(5):
            writer.append(step, **{name: value[step] for name, value in arrays.items()})
        writer.close()
    assert zarr.open_group(tmp_path / "0.zarr")["received"].dtype == np.uint8
    found = open_trajectory(tmp_path / "0.zarr")
    assert set(found.data_vars) == {*VARIABLES, *MEANS}
    values = found["received"].values
    assert values.dtype == np.float32
    error = np.abs(values - received)
    assert (error <= BOUND * (received + received.max(-1, keepdims=True) / MU) * 1.0001).all() and error.max() > 0
    assert found.attrs["storage"]["precision"] == "uint8" and "2.21%" in found.attrs["storage"]["error"]
    assert found.attrs["storage"]["largest_error"] == pytest.approx(error.max(), rel=1e-5)
    assert found.attrs["storage"]["largest_error_of_a_row_sum"] == pytest.approx(
        np.abs(values.sum(-1) - 1).max(), abs=1e-6
    )
    np.testing.assert_array_equal(values.argmax(-1), received.argmax(-1))
    np.testing.assert_allclose(found["received_masked"].values, values / 3, atol=0.002)
    for key in ({"layer": 1, "head": 2}, {"position": 3}, {"step": slice(1, 4), "head": [0, 2]}, {"position": [7, 1]}):
        part = open_trajectory(tmp_path / "0.zarr")
        for name in ("received", "received_masked"):
            np.testing.assert_array_equal(part[name].isel(key).values, found[name].load().isel(key).values)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_means_are_stored_exactly_and_read_without_the_whole(tmp_path, precision):
    received = noisy()
    path = tmp_path / "0.zarr"
    with TrajectoryWriter(path, **SIZES, precision=precision) as writer:
        for step in range(5):
            writer.append(step, received=received[step])
    for name in ("received", "received_scale"):
        shutil.rmtree(path / name / "c", ignore_errors=True)
    found = open_trajectory(path)
    close = {"rtol": 1e-6}
    np.testing.assert_allclose(received_by(found), received.mean((1, 2)), **close)
    np.testing.assert_allclose(received_by(found, layer=1), received[:, 1].mean(1), **close)
    np.testing.assert_allclose(received_by(found, head=2), received[:, :, 2].mean(1), **close)
    np.testing.assert_allclose(layers_of(found, np.array([0, 1])), np.moveaxis(received.mean(2), 1, 0), **close)
    assert np.isnan(received_by(found, 0, 0)).all()


def test_slices_are_the_same_with_and_without_stored_means(tmp_path, monkeypatch):
    monkeypatch.setattr("sap_core.trajectory.variables.CHUNK_BYTES", 4 * 8 * 30)  # two layers and three heads
    received = noisy()
    path = tmp_path / "0.zarr"
    with TrajectoryWriter(path, **SIZES) as writer:
        for step in range(5):
            writer.append(step, received=received[step])
    found = open_trajectory(path)
    assert found.attrs["chunk_layers"] == 2
    older = found.drop_vars(list(MEANS))
    for layer in (None, 1):
        for head in (None, 2):
            np.testing.assert_allclose(
                received_by(found, layer, head), received_by(older, layer, head), rtol=1e-6, err_msg=f"{layer} {head}"
            )
    for head in (None, 1):
        np.testing.assert_allclose(
            layers_of(found, np.array([1]), head), layers_of(older, np.array([1]), head), rtol=1e-6
        )
    for layer, part in by_layer(found):
        np.testing.assert_array_equal(part, received[:, layer])


def test_chunks_of_a_long_run_make_every_slice_cheap():
    """256 steps, 32 layers, 32 heads, 1024 positions: what a slice reads, in multiples of what it shows."""
    chunk = chunk_sizes(256, 32, 32, 1024)
    assert np.prod(list(chunk.values())) * 4 == 2**20
    chunks = {dim: size / chunk[dim] for dim, size in {"step": 256, "layer": 32, "head": 32, "position": 1024}.items()}
    assert np.prod(list(chunks.values())) <= 1024, "not a million files"
    for one in (("layer", "head"), ("step",), ("head",)):
        assert np.prod([size for dim, size in chunks.items() if dim not in one]) <= 128
    assert chunk_sizes(4, 2, 3, 8) == {"step": 4, "layer": 2, "head": 3, "position": 8}
    assert chunk_sizes(4, 2, 3, 10**6) == {"step": 1, "layer": 1, "head": 1, "position": 10**6}


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(UnknownOption, match="uint8"):
        TrajectoryWriter(tmp_path / "0.zarr", **SIZES, precision="int8")
