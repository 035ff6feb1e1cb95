"""The forms of both interventions, each of which makes a spec, and what it will cost."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...choices.methods import HEAD_SCORES
from ...choices.sink_rules import SINK_RULES
from ...errors import InvalidInput, SapError
from ...interventions.cost import forward_passes, seconds_needed
from ...models.info import ModelInfo
from ...specs import AblateHeadsSpec, AblateSinksSpec
from ...specs.options import help_of
from ..widgets import results
from ..widgets.address import address_choice
from ..widgets.fields import number_of
from ..widgets.formatting import duration, plain_text, run_label

SINKS, HEADS = "sinks", "heads"
TITLES = {SINKS: "Block sinks", HEADS: "Leave heads out"}
WHAT = {"scores": "can't be attended to", "values": "are attended to, but give nothing"}
BY = {"step": "the sinks of each step", "run": "the sinks of the whole text"}
#: A first look: minutes on the demo models. The command line's defaults are steadier and slower.
QUICK_TEXTS, QUICK_DRAWS, QUICK_WRITTEN = 16, 4, 4
OWN_TEXT = "a short text that it writes"
ANY = "the positions that receive most"


def pick_intervention() -> str:
    """Show the choice between the two interventions and return it."""
    return address_choice(
        "Intervention", list(TITLES), "what", format_func=TITLES.__getitem__,
        help="Block sinks: heads can't attend to them. Leave heads out: each head gives nothing, one at a time.",
    )  # fmt: skip


def pick_spec(kind: str, model: str, info: ModelInfo, loading: dict[str, Any]) -> Any:
    """Show the form of an intervention and return its spec; None, with the reason shown, if it can't be made."""
    try:
        build = _sinks if kind == SINKS else _heads
        return build(model, info, loading)
    except SapError as error:
        st.error(plain_text(str(error)))
        return None


def cost_line(spec: Any, info: ModelInfo) -> None:
    """Show how many forward passes the measurement takes, and about how long here."""
    told = f"About **{forward_passes(spec, info):,.0f}** forward passes of one text"
    if spec.device in ("auto", "cpu"):
        told += f", roughly {duration(seconds_needed(spec, info, results.probed_pace()))} on this machine"
    st.caption(f"{told}. What is measured is kept: a stopped measurement goes on where it was.")


def _sinks(model: str, info: ModelInfo, loading: dict[str, Any]) -> AblateSinksSpec:
    first, second, third, fourth = st.columns(4)
    top = first.text_input("Sinks blocked", "0, 1, 5", key="top", help=help_of(AblateSinksSpec, "top"))
    rule = second.selectbox(
        "Which count", [None, *SINK_RULES], key="sink_kind",
        format_func=lambda name: ANY if name is None else SINK_RULES[name].title,
        help="The strongest positions, or at most so many of those that a rule calls sinks.",
    )  # fmt: skip
    by = third.selectbox(
        "Taken from", list(BY), key="by", format_func=BY.__getitem__, help=help_of(AblateSinksSpec, "by")
    )
    what = fourth.selectbox(
        "Blocked ones", list(WHAT), key="what_blocked", format_func=WHAT.__getitem__,
        help=help_of(AblateSinksSpec, "what"),
    )  # fmt: skip
    fields = _texts(AblateSinksSpec)
    left, middle, right, last = st.columns(4, vertical_alignment="bottom")
    fields["generate"] = left.number_input(
        "Texts to go on with", key="written", **number_of(AblateSinksSpec, "generate", most=256, value=QUICK_WRITTEN)
    )
    if info.objective == "masked_diffusion":
        parts = middle.number_input(
            "Parts of the generation", 0, 16, 0, key="parts",
            help="Block in one part of the denoising steps at a time, of so many; 0: not.",
        )  # fmt: skip
        fields["parts"] = parts if fields["generate"] and parts > 1 else 0
    fields["each_head"] = right.toggle(
        "One head at a time too", key="each_head", help=help_of(AblateSinksSpec, "each_head")
    )
    if model.startswith("demo:"):
        fields["tasks"] = last.toggle("Score the tasks", key="score_tasks", help=help_of(AblateSinksSpec, "tasks"))
    return AblateSinksSpec.build(model=model, top=_numbers(top), rule=rule, by=by, what=what, **fields, **loading)


def _heads(model: str, info: ModelInfo, loading: dict[str, Any]) -> AblateHeadsSpec:
    left, middle, right = st.columns([2, 2, 1])
    known = {run.id: run for run in results.runs_of("capture", model=info.ref) if run.model == model}
    chosen = address_choice(
        "Instability of", [*known, OWN_TEXT], "ranking", container=left,
        format_func=lambda name: OWN_TEXT if name == OWN_TEXT else run_label(
            known[name].name, known[name].created, known[name].state
        ),
        help="A captured run of this model, or a short text that is captured for it.",
    )  # fmt: skip
    scores = middle.multiselect(
        "Other scores", HEAD_SCORES, list(AblateHeadsSpec.model_fields["scores"].default), key="head_scores",
        help=help_of(AblateHeadsSpec, "scores"),
    )  # fmt: skip
    greedy = right.number_input("Greedy group", key="greedy", **number_of(AblateHeadsSpec, "greedy", most=256))
    fields = _texts(AblateHeadsSpec)
    named = {"run": str(known[chosen].path)} if chosen in known else {}
    return AblateHeadsSpec.build(model=model, scores=tuple(scores), greedy=greedy, **named, **fields, **loading)


def _texts(spec: type) -> dict[str, Any]:
    """Show what both are measured on, and return the fields."""
    first, second, third, fourth = st.columns(4)
    text = first.text_input(
        "Texts", key="ablation_text", placeholder="held-out demo stories", help=help_of(spec, "text")
    )
    fields = {
        "samples": second.number_input(
            "Number of texts", key="ablation_samples", **number_of(spec, "samples", most=4096, value=QUICK_TEXTS)
        ),
        "draws": third.number_input(
            "Masks per text", key="ablation_draws", **number_of(spec, "draws", most=64, value=QUICK_DRAWS)
        ),
        "name": fourth.text_input("Name", key="ablation_name", placeholder="optional", help=help_of(spec, "name")),
    }
    return fields | ({"text": text.strip()} if text.strip() else {})


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(";", ",").split(",") if part.strip())
    except ValueError:
        raise InvalidInput(
            f"Sinks blocked are '{text}'; expected whole numbers with commas, such as 0, 1, 5."
        ) from None
