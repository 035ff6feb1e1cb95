"""The run folder: one action's spec, its artefacts, and the manifest that is written last and makes it final.

    <root>/<run id>/
        spec.json       what was asked, as `sap_core.specs.parse_spec` reads it; written first
        writer.json     who writes, while it is being written; removed when the run is closed
        trajectory/     one zarr store per sample (capture runs)
        result.json     the outcome, and other JSON documents beside it
        manifest.json   state, times, versions, size and SHA-256 of every file; written last
        meta.json       name, tags and notes given by the user; the only file that may change afterwards

A folder without manifest.json is unfinished and reported as such. Nothing here imports torch.
"""
