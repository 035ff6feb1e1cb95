"""The calibration texts of a pruning, if it reads any."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...choices.allocations import looks_at_texts
from ...choices.methods import Method
from ...specs import PruneSpec
from ...specs.calibration import SINK_EPSILON
from ...specs.options import help_of
from ..widgets.address import TEXT, address_input, address_number, one_of
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
    text = address_input(
        st.text_input, "Calibration texts", "calibration", "demo", TEXT,
        help=help_of(PruneSpec, "calibration"),
    )  # fmt: skip
    text = text.strip() or "demo"
    left, right = st.columns(2)
    samples_help = (
        f"Texts. More are steadier and slower: {QUICK_SAMPLES} for a first look, "
        f"{PruneSpec.model_fields['samples'].default} is the command line's default."
    )
    samples = address_number(
        left.number_input,
        "Samples",
        "samples",
        **number_of(PruneSpec, "samples", most=4096, value=QUICK_SAMPLES, help=samples_help),
    )
    length = address_number(
        right.number_input,
        "Length (tokens)",
        "calibration_length",
        placeholder="the model's, at most 256",
        **number_of(PruneSpec, "calibration_length", most=1 << 20),
    )
    picked = {"calibration": text, "samples": samples, "calibration_length": length}
    if text.startswith("dataset:"):
        first, second, third = st.columns(3)
        picked["calibration_subset"] = address_input(
            first.text_input, "Subset", "calibration_subset", "", TEXT, help=help_of(PruneSpec, "calibration_subset")
        )
        picked["calibration_split"] = address_input(
            second.text_input, "Split", "calibration_split", "train", TEXT, help=help_of(PruneSpec, "calibration_split")
        )
        picked["calibration_column"] = address_input(
            third.text_input,
            "Column",
            "calibration_column",
            "text",
            TEXT,
            help=help_of(PruneSpec, "calibration_column"),
        )
        picked["calibration_subset"] = picked["calibration_subset"] or None
    if method.inputs == "noised" or method.sinks != "none":
        picked["noise_levels"] = address_number(
            st.number_input, "Levels of masking", "noise_levels", **number_of(PruneSpec, "noise_levels", most=50)
        )
    if method.sinks != "none":
        picked["sink_rule"] = address_input(
            st.selectbox, "Sinks by", "sink_rule", "code", one_of(("code", "paper")), options=("code", "paper"),
            help=help_of(PruneSpec, "sink_rule"),
        )  # fmt: skip
        if picked["sink_rule"] == "paper":
            picked["sink_epsilon"] = address_number(
                st.number_input,
                "Epsilon",
                "sink_epsilon",
                **number_of(PruneSpec, "sink_epsilon", most=1000, step=0.5, value=SINK_EPSILON),
            )
    return picked
