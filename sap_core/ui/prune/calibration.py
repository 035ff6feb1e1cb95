"""The calibration texts of a pruning, if it reads any."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...choices.allocations import looks_at_texts
from ...choices.methods import Method
from ...specs import PruneSpec
from ...specs.calibration import SINK_EPSILON
from ...specs.options import help_of
from ..widgets.fields import number_of

#: Calibration texts of a first look: an answer within seconds on the demo models.
QUICK_SAMPLES = 16


def pick_calibration(method: Method, fields: dict[str, Any]) -> dict[str, Any]:
    """Show the choice of calibration texts, if the method or another choice needs any; return its fields.

    ``fields``: what was chosen so far.
    """
    if not looks_at_texts(method.name, fields.get("allocation", "uniform"), fields.get("compensate", "none")):
        st.caption(
            "Heads are ranked by a captured run."
            if method.name == "heads"
            else "This method looks at the weights alone."
        )
        return {}
    text = st.text_input(
        "Calibration texts", "demo", key="calibration",
        help=help_of(PruneSpec, "calibration"),
    )  # fmt: skip
    text = text.strip() or "demo"
    left, right = st.columns(2)
    samples_help = (
        f"Texts. More are steadier and slower: {QUICK_SAMPLES} for a first look, "
        f"{PruneSpec.model_fields['samples'].default} is the command line's default."
    )
    samples = left.number_input(
        "Samples", key="samples", **number_of(PruneSpec, "samples", most=4096, value=QUICK_SAMPLES, help=samples_help)
    )
    length = right.number_input(
        "Length (tokens)",
        key="calibration_length",
        placeholder="the model's, at most 256",
        **number_of(PruneSpec, "calibration_length", most=1 << 20),
    )
    picked = {"calibration": text, "samples": samples, "calibration_length": length}
    if text.startswith("dataset:"):
        first, second, third = st.columns(3)
        picked["calibration_subset"] = first.text_input(
            "Subset", key="calibration_subset", help=help_of(PruneSpec, "calibration_subset")
        )
        picked["calibration_split"] = second.text_input(
            "Split", "train", key="calibration_split", help=help_of(PruneSpec, "calibration_split")
        )
        picked["calibration_column"] = third.text_input(
            "Column", "text", key="calibration_column", help=help_of(PruneSpec, "calibration_column")
        )
        picked["calibration_subset"] = picked["calibration_subset"] or None
    if method.inputs == "noised" or method.sinks != "none":
        picked["noise_levels"] = st.number_input(
            "Levels of masking", key="noise_levels", **number_of(PruneSpec, "noise_levels", most=50)
        )
    if method.sinks != "none":
        picked["sink_rule"] = st.selectbox(
            "Sinks by", ("code", "paper"), key="sink_rule", help=help_of(PruneSpec, "sink_rule")
        )
        if picked["sink_rule"] == "paper":
            picked["sink_epsilon"] = st.number_input(
                "Epsilon",
                key="sink_epsilon",
                **number_of(PruneSpec, "sink_epsilon", most=1000, step=0.5, value=SINK_EPSILON),
            )
    return picked
