"""Sinks: replay one run, and see where its attention goes."""

import streamlit as st

from sap_core.runs.reading import Run
from sap_core.ui.sinks import motion, panels
from sap_core.ui.sinks.attention_map import attention_map_panel
from sap_core.ui.sinks.tables import sink_tables
from sap_core.ui.widgets import results, snippets
from sap_core.ui.widgets.address import address_number, write_query_param
from sap_core.ui.widgets.figure import figures_of
from sap_core.ui.widgets.layout import go, heading, show_snippets
from sap_core.ui.widgets.pickers import accuracy_line, pick_selection, run_in_view
from sap_core.ui.widgets.replay import map_choice, replay
from sap_core.ui.widgets.report import report_button

heading("Sinks", "Where attention goes while the text is written: play the run, or choose a step.")
run = run_in_view()
if run is None:
    st.stop()
figures_of([run])

pick = pick_selection(run)
accuracy_line(run, pick.sample)
path, stamp = str(run.path), results.stamp(run.path)
view = results.view_of(path, stamp, pick.sample, pick.layer, pick.head, pick.rule, with_sink_rate=True)
quantity, fit = map_choice(pick.layer, pick.head)
if run.state == "running":
    st.info(f"This run is still being recorded: {view.steps} of {view.steps_total} steps so far.")


@st.fragment
def player(run: Run) -> None:
    """Show the replay and figures of one run."""
    step = address_number("step", 0, 0, view.steps - 1)
    if map_choice(pick.layer, pick.head) != (quantity, fit):  # changed in the player: the figures below follow
        st.rerun()
    chosen = replay(view, run=f"{path}/{pick.sample}", step=step, key="replay", quantity=quantity, fit=fit)
    if chosen != step:
        write_query_param("step", chosen)
    motion.step_line(view, chosen)
    with st.expander("The full attention map at this step", icon=":material/grid_4x4:"):
        attention_map_panel(run, pick, view, chosen)


player(run)
motion.figures_strip(view)

large, layers, moves, tokens = st.tabs(
    ["Heatmap", "All layers", "How it moves", "Which tokens"], key="tab", on_change="rerun", bind="query-params"
)
if large.open:
    with large:
        panels.large_heatmap(view, quantity, fit)
        report_button(run, pick)
if layers.open:
    with layers:
        panels.every_layer(run.trajectories[pick.sample], pick.head, quantity, fit, pick.rule)
if moves.open:
    with moves:
        motion.panel(view)
if tokens.open:
    with tokens:
        sink_tables(results.summary_of(path, stamp, pick.rule, pick.sample))

go("Which heads are unstable?", "heads", run=run.id)
read = snippets.reading(
    "sinks",
    path,
    f"sap.sink_summary(run, rule={pick.rule.name!r}, threshold={pick.rule.threshold!r}, sample={pick.sample})",
    options={"rule": pick.rule.name, "threshold": pick.rule.threshold, "sample": pick.sample or None},
)
drawn = snippets.figure(
    path,
    pick.rule,
    kind="kinds" if st.session_state.get("axis") == panels.KINDS else "heatmap",
    sample=pick.sample,
    layer=pick.layer,
    head=pick.head,
    step=address_number("step", 0, 0, view.steps - 1),
)
show_snippets(f"{read[0]}\n{drawn[0]}", f"{read[1]}\n\n{drawn[1]}")
