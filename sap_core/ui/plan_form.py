"""The form of the Prune page: every field of a `PruneSpec`, and how a known plan is put into it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ..errors import InvalidInput
from ..models.info import ModelInfo
from ..pruning.methods import AUTO, COMPARISONS, METHODS, Method, parse_pattern
from ..specs import PruneSpec
from .address import address_choice, choose
from .allocation import load_allocation, pick_allocation
from .picks import pick_run

PATTERNS = {
    "unstructured": "Any weight",
    "2:4": "2:4, two of four consecutive inputs",
    "4:8": "4:8, four of eight consecutive inputs",
    "heads": "Whole attention heads, taken out",
    "channels": "Whole feed-forward channels, taken out",
    "layers": "Whole layers, taken out",
}
EXPANDED = {"N:M": ("2:4", "4:8")}
COMPARED = {"row": "within an output row", "matrix": "within the whole matrix"}
ORDERED = {"sequential": "block by block, on pruned inputs", "one_shot": "all at once, on the dense model"}


def pick_spec(model: str, info: ModelInfo, loading: dict[str, Any]) -> PruneSpec:
    """The spec the form describes; ``loading``: how the model is loaded. Raises InvalidInput with the reason."""
    usable = [name for name, row in METHODS.items() if not row.needs_mask_token or info.mask_token_id is not None]
    method = address_choice(
        "Method",
        usable,
        "method",
        format_func=lambda name: METHODS[name].title,
        default=usable.index("sink") if "sink" in usable else 0,
        help="How weights are told apart that may go from those that must stay.",
    )
    row = METHODS[method]
    st.caption(f"{row.help} Source: {row.source}.")
    patterns = [pattern for kind in row.patterns for pattern in EXPANDED.get(kind, (kind,))]
    pattern = address_choice(
        "What goes", patterns, "pattern", format_func=lambda name: PATTERNS.get(name, name),
        help="Single weights become zeros in place. Heads, channels and layers are taken out: the file gets smaller.",
    )  # fmt: skip
    fields: dict[str, Any] = _pick_heads(info, pattern) if method == "heads" else {}
    sparsity = _pick_sparsity(method, pattern)
    if pattern == "unstructured" and method != "heads":
        fields |= pick_allocation(info, sparsity)
    with st.expander("Order, comparison, calibration, seed", icon=":material/settings:"):
        fields |= _pick_recipe(row, pattern)
        fields |= _pick_calibration(row)
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="prune_seed", help="Of the calibration's texts and noise.")
        name = st.text_input("Name", key="prune_name", placeholder="optional", help="Shown in the lists of plans.")
    return PruneSpec.build(
        model=model, method=method, sparsity=sparsity, pattern=pattern, seed=seed, name=name, **fields, **loading
    )


def _pick_sparsity(method: str, pattern: str) -> float:
    parsed = parse_pattern(pattern)
    if parsed.structured:
        share = parsed.n / parsed.m
        st.slider(
            "Sparsity",
            0.0,
            0.95,
            share,
            key="fixed_sparsity",
            disabled=True,
            format="percent",
            help=f"{pattern} fixes it.",
        )
        return share
    what = "heads" if method == "heads" else parsed.unit or "weights in the attention and feed-forward matrices"
    share = st.slider(
        "Sparsity",
        0.0,
        0.95,
        0.5,
        0.01,
        key="sparsity",
        bind="query-params",
        format="percent",
        help=f"Share of the {what} that goes.",
    )
    return round(float(share), 4)


def _pick_heads(info: ModelInfo, pattern: str) -> dict[str, Any]:
    """Which ranking decides, or exactly which heads."""
    summary = pick_run(
        "capture", "ranking", "Ranked by run", states=("finished", "cancelled"), help="A captured run of this model."
    )
    if pattern == "unstructured":
        grid = [(layer, head) for layer in range(info.layers) for head in range(info.heads)]
        chosen = st.multiselect(
            "Exactly these heads", grid, key="heads", format_func=lambda pair: f"layer {pair[0]}, head {pair[1]}",
            placeholder="the most unstable ones", help="Overrides the ranking and the slider.",
        )  # fmt: skip
        if chosen:
            return {"heads": tuple(chosen)}
    if summary is None:
        raise InvalidInput(
            "No captured run to rank the heads by; capture one of this model, or choose the heads one by one."
        )
    return {"run": str(summary.path)}


def _pick_recipe(row: Method, pattern: str) -> dict[str, Any]:
    """Order, comparison and compensation, where the method and the pattern leave a choice."""
    parsed, fields = parse_pattern(pattern), {}
    if len(row.orders) > 1 and not parsed.unit:
        fields["order"] = address_choice(
            "Order",
            [AUTO, *row.orders],
            "order",
            format_func=lambda name: ORDERED.get(name, f"as published: {ORDERED[_own_order(row)]}"),
            help="Whether each block is measured behind the pruned ones before it, or on the dense model.",
        )
    if pattern == "unstructured" and row.compare in COMPARISONS:
        fields["compare"] = address_choice(
            "Weights compete",
            [AUTO, *COMPARISONS],
            "compare",
            format_func=lambda name: COMPARED.get(name, f"as published: {COMPARED[row.compare]}"),
            help="Among which weights the lowest scores go.",
        )
    if parsed.unit in ("heads", "channels") and row.name != "flap":
        fields["compensate"] = st.toggle(
            "Make up for what is taken out",
            key="compensate",
            help="Adds a bias: what the removed units gave on average over the calibration texts.",
        )
    return fields


def _own_order(row: Method) -> str:
    return "sequential" if row.sequential else "one_shot"


def _pick_calibration(row: Method) -> dict[str, Any]:
    if not row.needs_calibration:
        st.caption(
            "Heads are ranked by a captured run." if row.name == "heads" else "This method looks at the weights alone."
        )
        return {}
    text = st.text_input(
        "Calibration texts", "demo", key="calibration",
        help="demo, FILE.txt, or FILE.npy (token ids, shape (samples, length)).",
    )  # fmt: skip
    left, right = st.columns(2)
    samples = left.number_input("Samples", 1, 4096, 64, key="samples", help="More are steadier and slower.")
    length = right.number_input(
        "Length (tokens)", 1, 1 << 20, None, key="calibration_length", placeholder="the model's, at most 256",
        help="Tokens per calibration text.",
    )  # fmt: skip
    return {"calibration": text.strip() or "demo", "samples": samples, "calibration_length": length}


def load_plan(spec: dict[str, Any]) -> None:
    """Set the form to a known plan: for callbacks, and before a switch to the page. Fields without a widget are at
    their defaults in every plan that the studio makes."""
    state = st.session_state
    for key in ("method", "pattern", "order", "compare"):
        choose(key, spec.get(key) or PruneSpec.model_fields[key].default)
    if spec.get("run"):
        choose("ranking", str(spec["run"]).rsplit("/", 1)[-1])
    if not parse_pattern(spec["pattern"]).structured:
        state["sparsity"] = float(spec["sparsity"])
    load_allocation(spec)
    state["heads"] = [tuple(pair) for pair in spec.get("heads") or ()]
    state["compensate"] = bool(spec.get("compensate"))
    for key, field in (("calibration", "calibration"), ("samples", "samples"), ("prune_seed", "seed"),
                       ("calibration_length", "calibration_length")):  # fmt: skip
        state[key] = spec.get(field, PruneSpec.model_fields[field].default)
    state["prune_name"] = ""
