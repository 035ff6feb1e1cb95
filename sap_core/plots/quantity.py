"""What a map shows: the quantity, its scale and ticks, and the range of its colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ..errors import UnknownOption
from .theme import SHARE_RANGE, SHARE_TICKS, colour_bar
from .view import View

FITTED = "fitted to this view"


@dataclass(frozen=True)
class Quantity:
    """A quantity over steps and positions, and its scale.

    ``low`` and ``high`` are its own range, which is the same in every figure, so that two figures can be compared by
    eye. They and the keys of ``ticks`` are log2 of the value if ``logarithmic``, else the value.
    """

    name: str
    title: str
    unit: str
    low: float
    high: float
    ticks: dict[float, str]
    logarithmic: bool

    def values(self, view: View) -> Float[np.ndarray, "step position"]:
        """Return the quantity's values in a view; NaN where a position does not exist yet."""
        if self.name == "attention":
            return view.times_even
        if view.sink_rate is None:
            raise ValueError("The view was made without its sink rate: make_view(..., with_sink_rate=True).")
        return view.sink_rate

    def scale(self, values: Float[np.ndarray, " *shape"] | None = None) -> Scale:
        """Return the quantity's own range of colours, or the one that fits ``values``."""
        if values is None:
            return Scale(self, self.low, self.high, False)
        on_axis = self._on_axis(values)
        known = on_axis[np.isfinite(on_axis)]
        if not known.size:
            return Scale(self, self.low, self.high, True)
        low, high = float(known.min()), float(known.max())
        low = max(low, high - 12) if self.logarithmic else low  # 12 doublings: a share of 0 is not the lower end
        return Scale(self, low, high if high > low else low + 1e-6, True)

    def _on_axis(self, values: np.ndarray) -> np.ndarray:
        if not self.logarithmic:
            return np.asarray(values, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log2(values)

    def text(self, on_axis: float) -> str:
        """Return a place on the axis as the text of a tick."""
        return f"{2.0**on_axis:.2g}" if self.logarithmic else f"{on_axis:.3g}"


@dataclass(frozen=True)
class Scale:
    """A range of colours: levels 1 to 255 from ``low`` to ``high``; level 0 is "not there"."""

    quantity: Quantity
    low: float
    high: float
    fitted: bool

    def levels(self, values: Float[np.ndarray, " *shape"]) -> UInt8[np.ndarray, " *shape"]:
        """Return values as levels; 1 at and below the lower end, 255 at and above the upper, 0 for NaN."""
        place = (self.quantity._on_axis(values) - self.low) / (self.high - self.low)
        place = np.nan_to_num(np.clip(place, 0, 1), nan=0.0)
        return np.where(np.isnan(values), 0, 1 + np.round(place * 254)).astype(np.uint8)

    def ticks(self, every: int = 1) -> dict[float, str]:
        """Return level -> text of the ticks, every ``every``-th; of a narrow range also both ends."""
        inside = {place: text for place, text in self.quantity.ticks.items() if self.low <= place <= self.high}
        if len(inside) < 3:
            inside = {place: self.quantity.text(place) for place in np.linspace(self.low, self.high, 4)}
        shown = list(inside.items())[::every]
        return {1 + 254 * (place - self.low) / (self.high - self.low): text for place, text in shown}

    @property
    def title(self) -> str:
        """Quantity, unit and, if so, that the colours are fitted, for the title of a colour bar."""
        ends = f"<br>{FITTED}" if self.fitted else ""
        return f"{self.quantity.title}<br>({self.quantity.unit}){ends}"


ATTENTION = Quantity(
    "attention", "attention received", "× even share", *SHARE_RANGE, dict(SHARE_TICKS.items()), logarithmic=True
)
SINK_RATE = Quantity(
    "sink_rate", "sink rate", "share of heads", 0.0, 0.5,
    {0.0: "0", 0.1: "0.1", 0.2: "0.2", 0.3: "0.3", 0.4: "0.4", 0.5: "≥ 0.5"}, logarithmic=False,
)  # fmt: skip
QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in (SINK_RATE, ATTENTION)}


def quantity_named(name: str) -> Quantity:
    """Return the quantity with a name.

    Raises:
        UnknownOption: there is none.
    """
    if name not in QUANTITIES:
        raise UnknownOption("quantity", name, QUANTITIES)
    return QUANTITIES[name]


def usual_quantity(layer: int | None, head: int | None) -> Quantity:
    """Return what a map shows unless asked otherwise: the sink rate of several heads, the attention of a single one.

    In one head the sink rate is 0 or 1.
    """
    return SINK_RATE if layer is None or head is None else ATTENTION


def share_levels(times_even: Float[np.ndarray, " *shape"]) -> UInt8[np.ndarray, " *shape"]:
    """Return attention in multiples of an even share as levels of its own range, see `Scale.levels`."""
    return ATTENTION.scale().levels(times_even)


def scale_bar(scale: Scale, every: int = 1) -> dict[str, Any]:
    """Return the colour bar of a scale of levels, with every ``every``-th tick."""
    ticks = scale.ticks(every)
    return colour_bar(scale.title, tickvals=list(ticks), ticktext=list(ticks.values()))
