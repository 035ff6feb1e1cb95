"""The texts that a pruning looks at, where its method or what else was chosen looks at any."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...choices.allocations import looks_at_texts
from ...choices.methods import Method
from ...specs import PruneSpec
from ...specs.options import help_of

#: Calibration texts of a first look: an answer within seconds on the demo models.
QUICK_SAMPLES = 16


def pick_calibration(row: Method, fields: dict[str, Any]) -> dict[str, Any]:
    """Return where the texts come from, if the method or what else was chosen (``fields``) looks at any."""
    if not looks_at_texts(row.name, fields.get("allocation", "uniform"), fields.get("compensate", "none")):
        st.caption(
            "Heads are ranked by a captured run." if row.name == "heads" else "This method looks at the weights alone."
        )
        return {}
    text = st.text_input(
        "Calibration texts", "demo", key="calibration",
        help=help_of(PruneSpec, "calibration"),
    )  # fmt: skip
    text = text.strip() or "demo"
    left, right = st.columns(2)
    samples = left.number_input(
        "Samples", 1, 4096, QUICK_SAMPLES, key="samples",
        help=f"Texts. More are steadier and slower: {QUICK_SAMPLES} for a first look, "
        f"{PruneSpec.model_fields['samples'].default} is the command line's default.",
    )  # fmt: skip
    length = right.number_input(
        "Length (tokens)", 1, 1 << 20, None, key="calibration_length", placeholder="the model's, at most 256",
        help=help_of(PruneSpec, "calibration_length"),
    )  # fmt: skip
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
    if row.inputs == "noised" or row.sinks != "none":
        picked["noise_levels"] = st.number_input(
            "Levels of masking", 1, 50, 10, key="noise_levels", help=help_of(PruneSpec, "noise_levels")
        )
    return picked
