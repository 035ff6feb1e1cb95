"""Start: what this is, and the demo in one click."""

import streamlit as st

from sap_core.ui import doors, start, work
from sap_core.ui.frame import doors as show_doors
from sap_core.ui.frame import heading

heading(
    "Sink-Aware Pruning Studio",
    "See where a language model's attention goes while it writes, and prune what is unstable.",
)
start.idea()
specs = start.demo_specs()
start.run_button(specs)
for spec in specs:
    work.watch(start.slot_of(spec), start.live)
start.show(specs)
with st.expander("What the figures mean"):
    start.glossary()
show_doors(
    "\n".join(doors.command_of(spec, f"runs/{start.slot_of(spec)}") for spec in specs),
    doors.python_of(specs[0]),
)
