"""Ready sweeps by name: lists of variants, each some fields of `PruneSpec`. No torch here."""

from __future__ import annotations

from typing import Any

# What each part of sink-aware pruning adds, one part at a time: the noise (wanda to noised_wanda), the sink mask (to
# sink), the temporal factor (to sink_temporal), each block by block on pruned inputs and all at once on dense ones.
# random and magnitude, which look at no inputs, are the floor. Last, the rule of duplicates: the most unstable heads
# with and without the last of a group of near-duplicates being kept; their sparsity is the share of heads.
ABLATION: tuple[dict[str, Any], ...] = (
    {"method": "random"},
    {"method": "magnitude"},
    *(
        {"method": method, "order": order}
        for order in ("one_shot", "sequential")
        for method in ("wanda", "noised_wanda", "sink", "sink_temporal")
    ),
    *({"method": "heads", "pattern": "unstructured", "duplicates": rule} for rule in ("keep_one", "ignore")),
)

PRESETS: dict[str, tuple[dict[str, Any], ...]] = {"ablation": ABLATION}
