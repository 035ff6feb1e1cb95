"""The ranking of heads by the damage that leaving each out does, from a finished measurement. No torch here."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...errors import RunProblem


def rank_by_damage(run: Any) -> pd.DataFrame:
    """Return one row per (layer, head), the least harmful first.

    Args:
        run: A finished run of `sap_core.ablate_heads`.

    Returns:
        Columns layer, head, the scores that were compared (instability and its components among them), importance (the
            damage in nats per token) and rank (1 goes first).

    Raises:
        RunProblem: a run of another kind, or one that is not finished.
    """
    heads = run.result.get("heads") if run.kind == "ablate_heads" and run.state == "finished" else None
    if not heads:
        raise RunProblem(
            f"Run {run.path} ({run.kind}, {run.state}) has no measured heads; make one with `sap ablate heads`."
        )
    rows = [
        {"layer": one["layer"], "head": one["head"], **one["scores"], "importance": one["damage"]["nats_per_token"]}
        for one in heads
    ]
    table = pd.DataFrame(rows).sort_values("importance", kind="stable", ignore_index=True)
    return table.assign(rank=range(1, len(table) + 1))
