"""Whole units taken out of a model: how many of each layer, and what shape is left. No torch here.

Every layer loses the same number, so that stock classes load the result. Heads go by key-value group: the heads that
share their keys and values leave together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..models.family import RESIZABLE
from .methods import UNITS

if TYPE_CHECKING:
    from ..models.info import ModelInfo

# What each unit needs to find in a block.
PARTS = {"heads": ("q", "k", "v", "o"), "channels": ("gate", "up", "down"), "layers": ("o", "down")}


@dataclass(frozen=True)
class Shape:
    """What a model is made of, as far as removal changes it."""

    layers: int
    heads: int
    kv_heads: int
    ffn: int

    @classmethod
    def of(cls, info: ModelInfo) -> Shape:
        return cls(info.layers, info.heads, info.kv_heads, info.ffn)


def supported_units(info: ModelInfo) -> tuple[str, ...]:
    """The units that can be taken out of this model and saved in a format that loads.

    The table of families says which; a family's own code may know a smaller feed-forward, but no head size of its own.
    """
    if info.native_config.get("model_type") not in RESIZABLE:
        return ()
    kinds = [{m.kind for m in info.matrices if m.layer == layer} for layer in range(info.layers)]
    return tuple(unit for unit in UNITS if unit in info.row.units and all(set(PARTS[unit]) <= kind for kind in kinds))


def remaining_shape(info: ModelInfo, unit: str, share: float, compensate: bool = False) -> tuple[Shape, int]:
    """The shape after int(share * units) of each layer are gone, and that number.

    Raises:
        InvalidInput: a model this unit can't be taken out of, a share of less than one unit, a compensation that the
            resulting class has no biases for.
    """
    known = supported_units(info)
    if unit not in known:
        raise InvalidInput(
            f"pattern {unit} is not supported for {info.title} ({info.native_config.get('model_type')}); "
            f"it supports: {', '.join(('unstructured', 'N:M', *known))}."
        )
    shape = Shape.of(info)
    total = {"heads": shape.kv_heads, "channels": shape.ffn, "layers": shape.layers}[unit]
    gone = int(total * share + 1e-9)
    if gone < 1:
        name = "key-value groups of heads" if unit == "heads" else unit
        raise InvalidInput(f"sparsity {share:g} of {total} {name} is less than one; give at least {1 / total:.3g}.")
    left = total - gone
    result = {
        "heads": Shape(shape.layers, shape.heads // shape.kv_heads * left, left, shape.ffn),
        "channels": Shape(shape.layers, shape.heads, shape.kv_heads, left),
        "layers": Shape(left, shape.heads, shape.kv_heads, shape.ffn),
    }[unit]
    if compensate and (info.native_config["model_type"] != "llama" or needs_mistral(info, result)):
        raise InvalidInput(
            f"compensation needs biases, which only Llama's class has with a width that the heads divide; {info.ref} "
            f"would have {result.heads} heads at width {info.hidden}. Leave compensate out or take another number."
        )
    return result, gone


def removed_weights(kind: str, rows: int, cols: int, unit: str, share: float) -> int:
    """Weights that leave a matrix of this kind when ``share`` of the units does; whole units, so the product is whole.

    For layers, which go whole: the mean over the layers, rounded.
    """
    if unit == "layers":
        return round(rows * cols * share)
    return round(rows * cols * share) if kind in PARTS[unit] else 0


def how_it_loads(info: ModelInfo, shape: Shape) -> str:
    """What an export of this shape needs to be loaded, in words, told before anything is done."""
    if info.config.get("model_type") != info.native_config.get("model_type"):
        return "the family's own code, and sap_core.load_model"
    if needs_mistral(info, shape):
        return "stock transformers, as the equal class Mistral (Llama wants the width divisible by the heads)"
    return "stock transformers"


def needs_mistral(info: ModelInfo, shape: Shape) -> bool:
    """Llama refuses a width that the number of heads does not divide; Mistral computes the same and does not ask."""
    return info.native_config.get("model_type") == "llama" and info.hidden % shape.heads != 0
