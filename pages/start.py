"""Start: what the studio does, and the demo in one click."""

import streamlit as st

from sap_core.ui.start import panels
from sap_core.ui.widgets import jobs, snippets
from sap_core.ui.widgets.layout import heading, show_snippets

heading(
    "Sink-Aware Pruning Studio",
    "See where a language model's attention goes while it writes, and prune what is unstable.",
)
panels.idea()
specs = panels.SPECS
panels.run_button(specs)
for spec in specs:
    jobs.watch(panels.slot_of(spec), panels.live)
panels.show(specs)
with st.expander("What the figures mean"):
    panels.glossary()
show_snippets(
    "\n".join(snippets.command_of(spec, f"runs/{panels.slot_of(spec)}") for spec in specs),
    snippets.python_of(specs[0]),
)
