"""Whole units to remove from a model: how many of each layer, and the remaining shape. No torch here.

If every layer loses the same number, stock classes load the result; if an allocation gives layers different numbers,
the export contains a generated modelling file. Heads are removed by key-value group: all heads that share keys and
values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...choices.methods import UNITS
from ...errors import InvalidInput
from ..layout import EXPERT, expert_counts

if TYPE_CHECKING:
    from ..info import ModelInfo

ELASTIC = "sap_elastic.json"  # the order of importance of a checkpoint's units, see `sap_core.models.resizing.elastic`
# What each unit needs to find in a block.
PARTS = {"heads": ("q", "k", "v", "o"), "channels": ("gate", "up", "down"), "layers": ("o", "down")}
EXPERTS = "experts"
EXPERT_FIELDS = ("num_experts", "num_local_experts")  # what config.json calls the number of experts

FIRST_DIFFERS = ("modernbert",)  # classes that build their first layer without a norm: no other can take its place


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that removal changes.

    ``per_layer``: (kv_heads, ffn) of every layer if layers differ, else empty; heads, kv_heads and ffn are then those
    of the widest layer. ``experts``: of each mixture; 0 if there are none.
    """

    layers: int
    heads: int
    kv_heads: int
    ffn: int
    experts: int = 0
    per_layer: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, info: ModelInfo) -> Shape:
        """Return the current shape of a model."""
        experts = max(layer_units(info, EXPERTS), default=0)
        if not set(supported_units(info)) & {"heads", "channels"}:
            return cls(info.layers, info.heads, info.kv_heads, info.ffn, experts)
        sizes = zip(layer_units(info, "heads"), layer_units(info, "channels"), strict=True)
        return cls.from_layers(sizes, info.heads // info.kv_heads)

    @classmethod
    def from_layers(cls, sizes: Iterable[tuple[int, int]], heads_per_group: int) -> Shape:
        """Return the shape of layers with these (kv_heads, ffn)."""
        sizes = tuple(sizes)
        groups, ffn = max(kv for kv, _ in sizes), max(width for _, width in sizes)
        per_layer = sizes if len(set(sizes)) > 1 else ()
        return cls(len(sizes), heads_per_group * groups, groups, ffn, 0, per_layer)

    def words(self) -> str:
        """Return its sizes as text: of all layers, or from the narrowest to the widest."""
        parts = [f"{self.layers} layers"]
        ratio = self.heads // self.kv_heads
        for name, widest, place, times in (
            ("heads", self.heads, 0, ratio),
            ("key-value heads", self.kv_heads, 0, 1),
            ("channels", self.ffn, 1, 1),
        ):
            least = min((sizes[place] * times for sizes in self.per_layer), default=widest)
            parts.append(f"{widest} {name}" if least == widest else f"{least} to {widest} {name}")
        if self.experts:
            parts.append(f"{self.experts} experts a layer")
        return ", ".join(parts)


def layer_units(info: ModelInfo, unit: str) -> list[int]:
    """Return how many of this unit (heads: key-value groups) each layer has, from its own matrices."""
    if unit == EXPERTS:
        return expert_counts(info.matrices, info.layers)
    kind = {"heads": "k", "channels": "down"}[unit]
    found = {m.layer: m for m in info.matrices if m.kind == kind}
    sizes = [found[layer].rows // info.head_dim if unit == "heads" else found[layer].cols for layer in sorted(found)]
    return sizes if len(sizes) == info.layers else [info.kv_heads if unit == "heads" else info.ffn] * info.layers


def has_even_heads(info: ModelInfo) -> bool:
    """Return whether all layers have the same number of heads, so that attention can be recorded per head."""
    return "heads" not in supported_units(info) or len(set(layer_units(info, "heads"))) == 1


def supported_units(info: ModelInfo) -> tuple[str, ...]:
    """Return the units that can be removed from this model and saved in a format that loads.

    The table of families says which; a family's own code may support a smaller feed-forward, but no other head size.
    """
    experts = (EXPERTS,) if any(layer_units(info, EXPERTS)) and not info.row.remote_code else ()
    kinds = [{m.kind for m in info.matrices if m.layer == layer} for layer in range(info.layers)]
    parts = tuple(unit for unit in info.units if all(set(PARTS[unit]) <= kind for kind in kinds))
    return (*(unit for unit in UNITS if unit in parts), *experts)


def units_gone(info: ModelInfo, unit: str, share: float) -> list[int]:
    """Return int(share * units) of every layer; for layers themselves, one number.

    Raises:
        InvalidInput: a model this unit can't be removed from, a fraction of less than one unit.
    """
    known = supported_units(info)
    if unit not in known:
        reason = _why_no_heads(info) if unit == "heads" else ""
        raise InvalidInput(
            f"pattern {unit} is not supported for {info.title} ({info.native_config.get('model_type')}); "
            f"it supports: {', '.join(('unstructured', 'N:M', *known))}.{reason}"
        )
    counts = [info.layers] if unit == "layers" else layer_units(info, unit)
    if unit == EXPERTS:
        return _experts_gone(info, counts, share)
    gone = [int(count * share + 1e-9) for count in counts]
    if max(gone) < 1:
        name = "key-value groups of heads" if unit == "heads" else unit
        most = max(counts)
        raise InvalidInput(f"sparsity {share:g} of {most} {name} is less than one; give at least {1 / most:.3g}.")
    return gone


def _why_no_heads(info: ModelInfo) -> str:
    """Return why a model's format can't say fewer heads; "" where it is another reason."""
    if info.config.get("model_type") == info.native_config.get("model_type") or "head_dim" in info.config:
        return ""
    return (
        f" {info.title}'s config.json has no head_dim: its own code takes the width over the number of heads for the "
        "size of a head, so with fewer heads every head would have another size than its weights."
    )


def whole_groups(info: ModelInfo, out: int) -> bool:
    """Return whether ``out`` experts of a mixture are removed as whole groups of its router, not as many of each group.

    A router with groups ranks a group by its two best experts, so no group can be left with one.
    """
    groups, most = info.native_config.get("n_group") or 1, max(layer_units(info, EXPERTS))
    return groups > 1 and (out % groups != 0 or (most - out) // groups < 2)


def _experts_gone(info: ModelInfo, counts: list[int], share: float) -> list[int]:
    """Return the number of experts removed, the same for every mixture.

    If the router has groups, it is as many of each group, or else whole groups.
    """
    config, most = info.native_config, max(counts)
    text = config.get("text_config") or config
    groups, active = config.get("n_group") or 1, text.get("num_experts_per_tok") or text.get("top_k_experts") or 1
    wanted, size = int(most * share + 1e-9), most // groups
    out = wanted // groups * groups
    if (out and whole_groups(info, out)) or not out:
        out = wanted // size * size if groups > 1 else wanted
    if out < 1:
        least = min(groups if size > 2 else size, size) if groups > 1 else 1
        of = f" in {groups} groups of {size}" if groups > 1 else ""
        raise InvalidInput(
            f"sparsity {share:g} of {most} experts{of} takes none out; give at least {least / most:.3g}."
        )
    open_groups = min(config.get("topk_group") or groups, groups)
    reach = most - out
    if groups > 1:
        left = groups - out // size if whole_groups(info, out) else groups
        reach = (most - out) // max(left, 1) * min(open_groups, left)
    if reach < active:
        raise InvalidInput(
            f"sparsity {share:g} leaves {most - out} of {most} experts, too few for a router that sends each token to "
            f"{active}; give less."
        )
    return [out if count else 0 for count in counts]


def shared_out(counts: Sequence[int], shares: Sequence[float], total: int) -> list[int]:
    """Return whole units per layer, near count * share, that sum to ``total``; every layer keeps at least one.

    ``shares`` are those of an allocation with the mean total / sum(counts); largest remainders come first.
    """
    wanted, most = np.asarray(counts, float) * np.asarray(shares, float), np.asarray(counts) - 1
    gone = np.clip(np.floor(wanted + 1e-9).astype(int), 0, most)
    for layer in np.argsort(gone - wanted, kind="stable").tolist() * max(counts):
        if gone.sum() >= total:
            break
        gone[layer] += gone[layer] < most[layer]
    return gone.tolist()


def remaining_shape(info: ModelInfo, unit: str, gone: Sequence[int], biases: bool = False) -> Shape:
    """Return the shape after ``gone`` units of each layer are removed (for layers: gone[0] of them).

    Raises:
        InvalidInput: biases that the resulting class does not have; layers that would differ in a format that can't say
            so.
    """
    shape, ratio = Shape.of(info), info.heads // info.kv_heads
    if unit == "layers":
        kept = shape.layers - gone[0]
        result = Shape(kept, shape.heads, shape.kv_heads, shape.ffn, shape.experts, shape.per_layer[:kept])
    elif unit == EXPERTS:
        return replace(shape, experts=shape.experts - max(gone))
    else:
        groups, widths = layer_units(info, "heads"), layer_units(info, "channels")
        changed = groups if unit == "heads" else widths
        changed[:] = [count - out for count, out in zip(changed, gone, strict=True)]
        result = Shape.from_layers(zip(groups, widths, strict=True), ratio)
    own = info.config.get("model_type") != info.native_config.get("model_type")
    if result.per_layer and own:
        raise InvalidInput(
            f"{info.title} has one {unit} count for all layers in its config, so layers can't lose different numbers; "
            "use allocation uniform."
        )
    if biases and (info.native_config["model_type"] != "llama" or needs_mistral(info, result)):
        raise InvalidInput(
            "compensation by a bias needs biases, which only Llama's class has with a width that the heads divide; "
            f"{info.ref} would have {result.heads} heads at width {info.hidden}. Take compensate weights, or none, or "
            "another number."
        )
    return result


def removed_weights(name: str, kind: str, rows: int, cols: int, unit: str, share: float) -> int:
    """Return the weights removed from a matrix of this kind with the fraction ``share`` of the units.

    Units are whole, so the product is whole. For layers and experts: the mean over those that could be removed,
    rounded.
    """
    if unit == "layers":
        return round(rows * cols * share)
    if unit == EXPERTS:
        return round(rows * cols * share) if EXPERT.match(name) else 0
    return round(rows * cols * share) if kind in PARTS[unit] else 0


def how_it_loads(info: ModelInfo, shape: Shape) -> str:
    """Return what an export of this shape needs to be loaded, in words, known before anything is done."""
    if info.config.get("model_type") != info.native_config.get("model_type"):
        return "the family's own code, and sap_core.load_model"
    if shape.per_layer:
        return (
            "stock transformers with trust_remote_code=True: layers differ in width, so the folder has a "
            "per_layer_config and a generated modelling file"
        )
    if needs_mistral(info, shape):
        return "stock transformers, as the equal class Mistral (Llama wants the width divisible by the heads)"
    return "stock transformers"


def needs_mistral(info: ModelInfo, shape: Shape) -> bool:
    """Return whether Llama refuses this shape: a width that the number of heads does not divide. Mistral accepts it."""
    if shape.per_layer:  # config.json keeps the head count of the source, which the width divides
        return False
    return info.native_config.get("model_type") == "llama" and info.hidden % shape.heads != 0
