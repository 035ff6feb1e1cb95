"""Opening a stored trajectory: lazily, whatever its precision, while it is still being written too."""

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
    """Return the trajectory at ``path``, lazily: nothing is read before it is used, and only the chunks it lies in.

    Attention comes as float32 whatever it is stored in. While it is being written this shows the steps written so far
    (attribute ``steps_written`` of ``steps_total``).

    Args:
        path: the zarr group, in a folder or at an address.
        files: path in the group -> (bytes, SHA-256): what a closed run's manifest lists. Each piece is compared with
            it when it is read, which raises RunProblem where it differs.

    Raises:
        RunProblem: nothing there, not a trajectory, or one made by a newer version.
    """
    path = storage_path(path)
    store = storage_of(path).zarr(path)
    if files is not None:
        store = CheckedStore(LocalStore(store, read_only=True) if isinstance(store, str) else store, files, str(path))
    try:
        found = xr.open_zarr(store, consolidated=False, chunks=None, mask_and_scale=False)
    except SapError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunProblem(
            f"No trajectory at {path}: {type(error).__name__}. Capture again, or check the path."
        ) from None
    schema = found.attrs.get("schema")
    if schema is None or "received" not in found:
        raise RunProblem(f"{path} is not a trajectory, or its first step is not written yet.")
    if schema > SCHEMA:
        raise RunProblem(
            f"{path} has trajectory format {schema}; this version reads up to {SCHEMA}. Update sap-studio."
        )
    found = _as_float32(found)
    found = found.assign_coords({dim: np.arange(size) for dim, size in found.sizes.items()})
    return found.isel(step=slice(0, int(found.attrs["steps_written"])))


def _as_float32(found: xr.Dataset) -> xr.Dataset:
    """Return the dataset with ``received`` and ``received_masked`` in float32, converted where they are read."""
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
    """float16."""

    def read(self, key: tuple) -> np.ndarray:
        return from_half(self._stored[key].values)


class _Rows(ConvertedArray):
    """Codes of `encode_rows` and the maxima of their rows."""

    def __init__(self, stored: xr.Variable, scale: xr.Variable) -> None:
        super().__init__(stored)
        self._scale = scale

    def read(self, key: tuple) -> np.ndarray:
        codes, scale = self._stored[key].values, self._scale[key[:-1]].values
        if isinstance(key[-1], (int, np.integer)):  # one position: the axis of positions is gone
            return decode_rows(codes[..., None], scale)[..., 0]
        return decode_rows(codes, scale)


class _Part(ConvertedArray):
    """Codes of `encode_part` of another array."""

    def __init__(self, stored: xr.Variable, whole: Any) -> None:
        super().__init__(stored)
        self._whole = whole

    def read(self, key: tuple) -> np.ndarray:
        return decode_part(self._stored[key].values, self._whole.read(key))
