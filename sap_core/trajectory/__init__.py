"""The labelled result of a capture (xarray) and its chunked store (zarr)."""
