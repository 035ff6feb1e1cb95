"""The run folder: one action's spec, its artefacts, and the manifest that is written last and makes it final.

    <root>/<run id>/
        spec.json       what was asked, as `sap_core.specs.parse_spec` reads it; written first
        writer.json     who writes, while it is being written; gone once the run is closed
        trajectory/     one zarr store per sample (capture runs)
        result.json     the outcome, and other JSON documents beside it
        manifest.json   state, times, versions, size and SHA-256 of every file; written last
        meta.json       name, tags and notes given by the user; the only file that may change afterwards

A folder without manifest.json is unfinished and says so. Nothing here imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PLACES = {
    "create_run": "store",
    "RunWriter": "store",
    "open_run": "reading",
    "Run": "reading",
    "list_runs": "listing",
    "RunSummary": "listing",
    "delete_run": "listing",
    "describe_run": "listing",
    "update_run": "meta",
    "export_archive": "archive",
    "import_archive": "archive",
    "runs_root": "paths",
    "new_run_path": "paths",
    "check_new_folder": "paths",
    "check_new_run": "paths",
}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
