"""Open a stored trajectory lazily, in any precision, also while it is being written."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import xarray as xr
from zarr.storage import LocalStore

from ..errors import RunProblem, SapError
from ..storage import storage_of, storage_path
from .checked import CheckedStore, Files
from .lazy_arrays import ConvertedArray, lazily
from .quantization import decode_part, decode_rows, from_half
from .variables import SCALE, SCHEMA


def open_trajectory(path: str | PathLike, files: Files | None = None) -> xr.Dataset:
    """Open the trajectory at ``path`` lazily: only the chunks that are used are read, when they are used.

    Attention is float32 however it is stored. While the run is being written, the dataset has the steps written so far
    (attribute ``steps_written`` of ``steps_total``).

    Args:
        path: The zarr group, in a folder or at an address.
        files: Path in the group -> (bytes, SHA-256), as the manifest of a finished run lists them. Each chunk is
            compared when it is read, and RunProblem is raised if it differs.

    Raises:
        RunProblem: nothing there, not a trajectory, or one made by a newer version.
    """
    path = storage_path(path)
    store = storage_of(path).zarr(path)
    if files is not None:
        store = CheckedStore(LocalStore(store, read_only=True) if isinstance(store, str) else store, files, str(path))
    try:
        result = xr.open_zarr(store, consolidated=False, chunks=None, mask_and_scale=False)
    except SapError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunProblem(
            f"No trajectory at {path}: {type(error).__name__}. Capture again, or check the path."
        ) from None
    schema = result.attrs.get("schema")
    if schema is None or "received" not in result:
        raise RunProblem(f"{path} is not a trajectory, or its first step is not written yet.")
    if schema > SCHEMA:
        raise RunProblem(
            f"{path} has trajectory format {schema}; this version reads up to {SCHEMA}. Update sap-studio."
        )
    result = _as_float32(result)
    result = result.assign_coords({dim: np.arange(size) for dim, size in result.sizes.items()})
    return result.isel(step=slice(0, int(result.attrs["steps_written"])))


def _as_float32(found: xr.Dataset) -> xr.Dataset:
    """Return the dataset with ``received`` and ``received_masked`` in float32, converted when they are read."""
    received, part = found["received"].variable, found["received_masked"].variable
    if received.dtype == np.float16:
        arrays: dict[str, ConvertedArray] = {"received": _Halves(received), "received_masked": _Halves(part)}
    elif received.dtype == np.uint8:
        arrays = {"received": _Rows(received, found[SCALE].variable)}
        arrays["received_masked"] = _Part(part, arrays["received"])
        found = found.drop_vars(SCALE)
    else:
        return found
    for name, array in arrays.items():
        found[name] = found[name].dims, lazily(array), found[name].attrs
    return found


class _Halves(ConvertedArray):
    """An array stored in float16."""

    def read(self, key: tuple) -> np.ndarray:
        return from_half(self._stored[key].values)


class _Rows(ConvertedArray):
    """An array stored as codes of `encode_rows` and the maxima of its rows."""

    def __init__(self, stored: xr.Variable, scale: xr.Variable) -> None:
        super().__init__(stored)
        self._scale = scale

    def read(self, key: tuple) -> np.ndarray:
        codes, scale = self._stored[key].values, self._scale[key[:-1]].values
        if isinstance(key[-1], (int, np.integer)):  # one position: the axis of positions is gone
            return decode_rows(codes[..., None], scale)[..., 0]
        return decode_rows(codes, scale)


class _Part(ConvertedArray):
    """An array stored as codes of `encode_part`, relative to another array."""

    def __init__(self, stored: xr.Variable, whole: Any) -> None:
        super().__init__(stored)
        self._whole = whole

    def read(self, key: tuple) -> np.ndarray:
        return decode_part(self._stored[key].values, self._whole.read(key))
