"""The trade-off between cost and loss: which results no other result dominates. No torch here."""

from __future__ import annotations

import numpy as np
import pandas as pd


def frontier(table: pd.DataFrame, cost: str = "nonzero_parameters", loss: str = "nats_per_token") -> pd.DataFrame:
    """Return the rows that no other row dominates, sorted by cost.

    A row dominates another if it is at most as costly and at most as lossy, and better in one of the two. Rows without
    either value are left out; equal rows are all kept.

    Args:
        table: One row per result.
        cost: Column in which smaller is better (for a speed-up give its inverse).
        loss: Column in which smaller is better.
    """
    taking_part = table[table[cost].notna() & table[loss].notna()].sort_values([cost, loss], kind="stable")
    costs, losses = taking_part[cost].to_numpy(float), taking_part[loss].to_numpy(float)
    keep = np.zeros(len(taking_part), bool)
    best = (np.inf, np.inf)  # cost and loss of the last row kept
    for i, point in enumerate(zip(costs, losses, strict=True)):
        if point[1] < best[1] or point == best:
            keep[i], best = True, point
    return taking_part[keep]


def best_plans(plans: pd.DataFrame, cost: str, more_is_better: bool = False, quality: str = "loss") -> pd.DataFrame:
    """Return the rows of a table of `measured_plans` that no other row dominates, by ``cost`` and ``quality``.

    ``more_is_better``: whether a larger cost column is better. A quality other than the loss is a score, of which more
    is better.
    """
    signed = plans.assign(
        _cost=pd.to_numeric(plans[cost], errors="coerce") * (-1 if more_is_better else 1),
        _loss=pd.to_numeric(plans[quality], errors="coerce") * (1 if quality == "loss" else -1),
    )
    return plans.loc[frontier(signed, "_cost", "_loss").index]
