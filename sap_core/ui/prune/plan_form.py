"""The form of the Prune page: every field of a prune spec, and loading a known plan into it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...choices.methods import AUTO, COMPARISONS, METHODS, WEIGHTS, Method
from ...choices.patterns import parse_pattern
from ...choices.strategies import PRESETS
from ...errors import InvalidInput
from ...models.info import ModelInfo
from ...models.resizing.units import supported_units
from ...pruning.planning.defaults import best_recipe
from ...specs import (
    ProgressivePruneSpec,
    PruneOptions,
    PruneSpec,
    SearchPruneSpec,
    build_prune_spec,
    prune_default,
)
from ...specs.options import help_of
from ..widgets.address import address_choice, choose
from ..widgets.fields import number_of
from ..widgets.pickers import pick_run
from .allocation import load_allocation, pick_allocation
from .calibration import pick_calibration

PATTERNS = {
    "unstructured": "Any weight",
    "2:4": "2:4, two of four consecutive inputs",
    "4:8": "4:8, four of eight consecutive inputs",
    "heads": "Whole attention heads, taken out",
    "channels": "Whole feed-forward channels, taken out",
    "layers": "Whole layers, taken out",
}
EXPANDED = {"N:M": ("2:4", "4:8")}
COMPENSATIONS = {"none": "nothing", "bias": "a bias", "weights": "the weights that stay"}
COMPARED = {"row": "within an output row", "matrix": "within the whole matrix"}
MODES = {
    "direct": "These settings",
    "progressive": "A loss budget, layer by layer",
    "search": "A goal: a preset, or a speed",
}
OWN_GOAL = "own"
ORDERED = {"sequential": "block by block, on pruned inputs", "one_shot": "all at once, on the dense model"}


def pick_spec(model: str, info: ModelInfo, loading: dict[str, Any]) -> PruneOptions:
    """Show the form and return its spec; ``loading``: how the model is loaded.

    Raises:
        InvalidInput: the settings don't fit each other or the model.
    """
    mode = address_choice(
        "Mode", list(MODES), "decided", format_func=MODES.__getitem__,
        help="How much goes from where: as set below; as hard as the loss allows, layer after layer; or searched for "
        "among shapes of the model, each measured on this machine.",
    )  # fmt: skip
    pattern = PruneSpec.model_fields["pattern"].default if mode == "search" else _pick_pattern(mode, info)
    usable = [name for name in METHODS if _usable(name, mode, pattern, info)]
    best = best_recipe(info, pattern, mode)["method"]
    method = address_choice(
        "Method",
        usable,
        "method",
        format_func=lambda name: METHODS[name].title,
        default=usable.index(best) if best in usable else 0,
        help="How weights are told apart that may go from those that must stay. It starts at the one that measured "
        "best on the demo models.",
    )
    entry = METHODS[method]
    st.caption(f"{entry.help} Source: {entry.source}.")
    if mode == "search":
        fields = _pick_goal()
    else:
        fields = _pick_heads(info, method, pattern) if METHODS[method].ranks_heads else {}
        fields["pattern"] = pattern
        fields["sparsity"] = _pick_sparsity(method, pattern)
        if mode == "progressive":
            fields |= _pick_budget()
        elif pattern == "unstructured" and not METHODS[method].ranks_heads:
            fields |= pick_allocation(info, fields["sparsity"])
    with st.expander("Order, comparison, calibration, seed", icon=":material/settings:"):
        if mode != "search":
            fields |= _pick_recipe(entry, pattern)
        fields |= pick_calibration(entry, fields)
        seed = st.number_input("Seed", key="prune_seed", **number_of(PruneSpec, "seed"))
        name = st.text_input("Name", key="prune_name", placeholder="optional", help=help_of(PruneSpec, "name"))
    return build_prune_spec(model=model, method=method, seed=seed, name=name, **fields, **loading)


def _usable(name: str, mode: str, pattern: str, info: ModelInfo) -> bool:
    entry = METHODS[name]
    if entry.needs_mask_token and info.mask_token_id is None:
        return False
    if mode == "search":
        return not entry.ranks_heads and "channels" in entry.patterns
    kind = "N:M" if parse_pattern(pattern).structured else pattern
    return kind in entry.patterns and (mode == "direct" or not entry.ranks_heads)


def _pick_pattern(mode: str, info: ModelInfo) -> str:
    """Show the patterns that the mode and the model allow, and return the chosen one."""
    kinds = [*WEIGHTS, *(supported_units(info) if mode == "direct" else ())]
    return address_choice(
        "Pattern", [pattern for kind in kinds for pattern in EXPANDED.get(kind, (kind,))], "pattern",
        format_func=lambda name: str(PATTERNS.get(name, name)),
        help="Single weights become zeros in place. Heads, channels and layers are taken out: the file gets smaller.",
    )  # fmt: skip


def _pick_budget() -> dict[str, Any]:
    budget = st.slider(
        "Loss budget", key="budget", format="percent",
        **number_of(ProgressivePruneSpec, "budget", most=1, step=0.01, value=0.05),
    )  # fmt: skip
    validation = st.text_input(
        "Validation texts",
        key="validation",
        placeholder="held-out stories",
        help=help_of(ProgressivePruneSpec, "validation"),
    )
    return {"budget": round(float(budget), 4), "validation": validation.strip() or None}


def _pick_goal() -> dict[str, Any]:
    """Show the choice of a preset, or a speed-up with the allowed loss, and return its fields."""
    goals = {name: preset.title for name, preset in PRESETS.items()} | {OWN_GOAL: "A speed of my own"}
    goal = address_choice(
        "Goal", list(goals), "goal", format_func=goals.__getitem__, default=1, help="What is looked for."
    )
    if goal != OWN_GOAL:
        st.caption(f"{PRESETS[goal].help} Which plan reaches it depends on what is measured.")
        return {"preset": goal}
    left, right = st.columns(2)
    speed = left.number_input(
        "Speed (× dense)",
        key="target_speedup",
        **number_of(SearchPruneSpec, "target_speedup", most=20, step=0.05, min_value=1.01, value=1.3),
    )
    drop = right.number_input(
        "Loss may rise by (fraction)",
        key="quality_drop",
        **number_of(SearchPruneSpec, "quality_drop", most=10, step=0.01, value=0.05),
    )
    return {"target_speedup": round(float(speed), 4), "quality_drop": round(float(drop), 4)}


def _pick_sparsity(method: str, pattern: str) -> float:
    parsed = parse_pattern(pattern)
    if parsed.structured:
        fraction = parsed.n / parsed.m
        st.slider(
            "Sparsity", key="fixed_sparsity", disabled=True, format="percent",
            **number_of(PruneSpec, "sparsity", step=0.01, value=fraction, help=f"{pattern} fixes it."),
        )  # fmt: skip
        return fraction
    what = (
        "heads" if METHODS[method].ranks_heads else parsed.unit or "weights in the attention and feed-forward matrices"
    )
    bounds = number_of(PruneSpec, "sparsity", step=0.01, help=f"Fraction of the {what} that is removed.")
    start = bounds.pop("value")
    if "sparsity" not in st.session_state and "sparsity" not in st.query_params:
        st.session_state["sparsity"] = start
    fraction = st.slider("Sparsity", key="sparsity", bind="query-params", format="percent", **bounds)
    return round(float(fraction), 4)


def _pick_heads(info: ModelInfo, method: str, pattern: str) -> dict[str, Any]:
    """Show the choice of a ranking, or of single heads, and return its fields."""
    kind, what = ("ablate_heads", "measurement") if method == "measured" else ("capture", "captured run")
    states = ("finished",) if method == "measured" else ("finished", "cancelled")
    summary = pick_run(kind, "ranking", "Ranked by run", states=states, help=f"A {what} of this model.", model=info.ref)
    if pattern == "unstructured" and method == "heads":
        grid = [(layer, head) for layer in info.attention_layers for head in range(info.heads)]
        chosen = st.multiselect(
            "Exactly these heads", grid, key="heads", format_func=lambda pair: f"layer {pair[0]}, head {pair[1]}",
            placeholder="the most unstable ones", help="Overrides the ranking and the slider.",
        )  # fmt: skip
        if chosen:
            return {"heads": tuple(chosen)}
    if summary is None:
        raise InvalidInput(
            "No captured run to rank the heads by; capture one of this model, or choose the heads one by one."
            if method == "heads"
            else "No measurement to rank the heads by; leave out every head of this model on Interventions first."
        )
    return {"run": str(summary.path)}


def _pick_recipe(entry: Method, pattern: str) -> dict[str, Any]:
    """Show order, comparison and compensation, if method and pattern leave a choice; return the fields."""
    parsed, fields = parse_pattern(pattern), {}
    if len(entry.orders) > 1 and not parsed.unit:
        fields["order"] = address_choice(
            "Order",
            [AUTO, *entry.orders],
            "order",
            format_func=lambda name: ORDERED.get(name, f"as published: {ORDERED[_own_order(entry)]}"),
            help=help_of(PruneSpec, "order"),
        )
    if pattern == "unstructured" and entry.compare in COMPARISONS:
        fields["compare"] = address_choice(
            "Weights compete",
            [AUTO, *COMPARISONS],
            "compare",
            format_func=lambda name: COMPARED.get(name, f"as published: {COMPARED[entry.compare]}"),
            help=help_of(PruneSpec, "compare"),
        )
    if pattern == "heads" or entry.ranks_heads:
        keep = st.toggle(
            "Keep one of heads that attend alike", True, key="keep_one",
            help=help_of(PruneSpec, "duplicates"),
        )  # fmt: skip
        if not keep:
            fields["duplicates"] = "ignore"
    if parsed.unit in ("heads", "channels") and entry.name != "flap":
        fields["compensate"] = address_choice(
            "Compensation",
            list(COMPENSATIONS),
            "compensate",
            format_func=COMPENSATIONS.__getitem__,
            default=2,
            help="What stays takes over what goes, as far as the calibration texts tell: the weights that stay, moved "
            "by least squares, or a bias of what it gave on average.",
        )
    return fields


def _own_order(entry: Method) -> str:
    return "sequential" if entry.sequential else "one_shot"


def load_plan(spec: dict[str, Any]) -> None:
    """Set the form to a known plan: for callbacks, and before switching to the page.

    Fields without a widget are at their defaults in every plan that the studio makes.
    """
    state = st.session_state
    known = build_prune_spec(**spec)
    fields = known.model_dump()
    choose("decided", known.strategy)
    if known.strategy == "search":
        choose("goal", known.preset or OWN_GOAL)
        state["target_speedup"], state["quality_drop"] = known.target_speedup or 1.3, known.quality_drop or 0.05
    if known.strategy == "progressive":
        state["budget"], state["validation"] = known.budget, known.validation or ""
    state["keep_one"] = fields.get("duplicates", "keep_one") == "keep_one"
    for key in ("method", "pattern", "order", "compare", "compensate"):
        choose(key, fields.get(key, prune_default(key)))
    if fields.get("run"):
        choose("ranking", str(fields["run"]).rsplit("/", 1)[-1])
    if not parse_pattern(fields.get("pattern", "unstructured")).structured:
        state["sparsity"] = float(fields.get("sparsity", prune_default("sparsity")))
    load_allocation(fields)
    state["heads"] = [tuple(pair) for pair in fields.get("heads") or ()]
    for key, field in (("calibration", "calibration"), ("samples", "samples"), ("prune_seed", "seed"),
                       ("calibration_length", "calibration_length"), ("noise_levels", "noise_levels")):  # fmt: skip
        state[key] = fields[field]
    state["prune_name"] = ""
