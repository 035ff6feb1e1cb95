"""The modules whose array shapes the tests execute: those that compute."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # where a float is expected, an int will do
CHECKED = [
    f"sap_core.{name}"
    for name in (
        "attention.attention_rows",
        "attention.kernel_dispatch",
        "attention.observation",
        "attention.row_statistics",
        "attention.window",
        "capturing.attention_map",
        "evaluation.likelihood",
        "plots.attention",
        "plots.reduce",
        "pruning.scoring.masks",
        "pruning.scoring.scores",
        "pruning.scoring.sink_weighting",
        "pruning.scoring.sparsegpt",
        "pruning.scoring.statistics",
        "pruning.structured.unit_choice",
        "samplers.blocks",
        "samplers.denoise",
        "samplers.draws",
        "samplers.llada",
        "samplers.schedule",
        "samplers.step",
        "samplers.step_counts",
        "sinks.compare",
        "sinks.motion",
        "sinks.redundant_heads",
        "sinks.rules",
        "sinks.token_types",
        "trajectory.access",
        "trajectory.quantization",
    )
]
