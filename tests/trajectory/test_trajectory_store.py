"""The store: what is written comes back, while it is being written too, and one layer is read without the others."""

import shutil

import numpy as np
import pytest
import zarr

from sap_core.errors import OperationFailed, RunProblem
from sap_core.trajectory.store import VARIABLES, TrajectoryWriter, open_trajectory
from sap_core.trajectory.synthetic import synthetic_trajectory

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
    assert found.attrs["pieces"] == "{}" and found.attrs["steps_total"] == 5 and found.attrs["schema"] == 1
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
    monkeypatch.setattr("sap_core.trajectory.store.CHUNK_STEPS", 2)
    write(tmp_path / "0.zarr", source).close()
    assert zarr.open_group(tmp_path / "0.zarr")["received"].chunks == (2, 1, 3, 8)
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


def test_one_layer_is_read_without_the_others(tmp_path, source):
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
    writer.close(schema=2)
    with pytest.raises(RunProblem, match="format 2"):
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
