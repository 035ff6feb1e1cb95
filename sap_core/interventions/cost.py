"""What an intervention costs, before it starts: forward passes of one text, and seconds here. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models.duration import step_flops
from ..models.family import MASKED_DIFFUSION
from ..specs import AblateHeadsSpec, AblateSinksSpec

if TYPE_CHECKING:
    from ..models.info import ModelInfo

LENGTH = 128  # tokens of a text where nothing else is known: a demo story's canvas
STEPS = 32  # of a generation
TASKS = 6  # three, continued and filled in
ORDERS, POINTS = 8, 6  # of the curves: rankings and random orders, points each
CANDIDATES = 8  # of a greedy group


def forward_passes(spec: AblateSinksSpec | AblateHeadsSpec, info: ModelInfo) -> float:
    """Return how many forward passes of one text the measurement takes; a pass from a middle layer counts in part."""
    rows = spec.samples * (spec.draws if info.objective == MASKED_DIFFUSION else 1)
    if isinstance(spec, AblateHeadsSpec):
        # Without head h of layer l, layers l to L are computed: on average (L + 1) / 2 L of a pass.
        part = (info.layers + 1) / (2 * info.layers)
        single = rows * (1 + info.layers * info.heads * part)
        scores = 2.0 * rows * len(spec.scores)
        curves = rows / 2 * (ORDERS + len(spec.scores)) * POINTS if spec.curves else 0.0
        return single + scores + curves + rows / 2 * spec.greedy * (CANDIDATES + 1)
    kinds = 3 if spec.controls else 1
    whole = sum(kinds if top else 1 for top in spec.top)
    single = (len(spec.heads) or info.layers * info.heads) * min(kinds, 2) if spec.each_head else 0
    written = (1 + whole + kinds * spec.parts) * spec.generate
    written += (1 + whole) * TASKS * spec.samples if spec.tasks else 0
    return rows * (1 + whole + single + (spec.by == "run")) + 2.0 * STEPS * written


def seconds_needed(spec: AblateSinksSpec | AblateHeadsSpec, info: ModelInfo, pace: float) -> float:
    """Return the seconds it takes at ``pace`` operations per second, to a factor of three.

    The pace is that of `sap_core.models.duration.machine_pace`.
    """
    length = min(LENGTH, info.max_length or LENGTH)
    return forward_passes(spec, info) * step_flops(info, length=length) / pace
