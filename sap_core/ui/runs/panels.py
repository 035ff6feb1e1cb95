"""The list of runs: search, details, name and notes, archive, deletion."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ...byte_size import format_bytes
from ...errors import SapError
from ...runs.clean import clean_leftovers, list_leftovers
from ...runs.listing import RunSummary, delete_run, describe_run, is_run, list_runs
from ...runs.meta import update_run
from ...runs.paths import runs_root
from ...specs import parse_spec
from ..widgets import jobs, results
from ..widgets.address import address_choice, write_query_param
from ..widgets.archives import download_archive, upload_archive
from ..widgets.formatting import duration, format_time, plain_text
from ..widgets.layout import go

KINDS = (
    "capture", "ablate_sinks", "ablate_heads", "prune", "prune_checkpoint", "heal", "sweep", "evaluate", "export",
    "elastic", "push", "attention_map",
)  # fmt: skip
SORTS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "name": "by name",
    "model": "by model",
    "size": "largest first",
    "took": "longest first",
}


def listed() -> list[RunSummary] | None:
    """Return all runs, newest first; None, with instructions, if there are none."""
    return list_runs() or None


def search(runs: list[RunSummary]) -> list[RunSummary]:
    """Show search and filters, and return the runs that match, in the chosen order."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    shown = (
        left.text_input(
            "Search", key="q", bind="query-params", placeholder="name, model, tag, note or id",
            help="All words must occur somewhere in a run's name, model, tags, notes, state or id.",
        )
        .lower()
        .split()
    )  # fmt: skip
    order = address_choice(
        "Order",
        list(SORTS),
        "sort",
        container=right,
        format_func=SORTS.__getitem__,
        help="A click on a column's head sorts too.",
    )
    known = {run.kind for run in runs}
    kinds = st.pills(
        "Kind",
        [kind for kind in KINDS if kind in known],
        selection_mode="multi",
        key="kinds",
        format_func=lambda kind: kind.replace("_", " ").capitalize(),
    )
    labels = sorted({tag for run in runs for tag in run.tags}, key=str.lower)
    tags = st.pills("Tag", labels, selection_mode="multi", key="tags_chosen", format_func=plain_text) if labels else []
    found = []
    for run in runs:
        text = " ".join([run.id, run.name, run.model, run.state, run.notes, *run.tags]).lower()
        fits = all(word in text for word in shown) and (not kinds or run.kind in kinds)
        if fits and set(tags or ()) <= set(run.tags):
            found.append(run)
    return _sorted(found, order)


def _sorted(runs: list[RunSummary], order: str) -> list[RunSummary]:
    if order == "oldest":
        return runs[::-1]
    keys = {
        "name": lambda run: run.name.lower(),
        "model": lambda run: run.model.lower(),
        "size": lambda run: -run.bytes,
        "took": lambda run: -(run.seconds or 0),
    }
    return sorted(runs, key=keys[order]) if order in keys else runs


def table(runs: list[RunSummary]) -> RunSummary | None:
    """Show the list; return the selected row, or the run in the address."""
    if not runs:
        st.info("No run matches. Clear the search or the kinds.")
        return None
    event = st.dataframe(
        [
            {
                "name": run.name,
                "kind": run.kind,
                "state": run.state,
                "when (UTC)": format_time(run.created),
                "took": duration(run.seconds),
                "size": format_bytes(run.bytes) if run.bytes else "–",
                "model": run.model,
                "tags": list(run.tags),
            }
            for run in runs
        ],
        key="runs_table",
        on_select="rerun",
        selection_mode="single-row",
        hide_index=True,
        height=min(38 + 35 * len(runs), 420),
        column_config={"name": st.column_config.TextColumn(width=330)},
        alt="List of runs",
    )
    rows = event["selection"]["rows"] if event else []
    if rows and rows[0] < len(runs):
        write_query_param("run", runs[rows[0]].id)
        return runs[rows[0]]
    named = st.query_params.get("run")
    return next((run for run in runs if run.id == named), None)


def details(run: RunSummary) -> None:
    """Show one run: links, settings, name and notes, and its deletion."""
    with st.container(border=True):
        st.subheader(plain_text(run.name), anchor=False)
        if run.problem:
            st.error(plain_text(run.problem))
        st.caption(plain_text(f"{run.kind} · {run.state} · {format_time(run.created)} UTC · {run.id}"))
        _links(run)
        _unfinished(run)
        left, right = st.columns(2, gap="large")
        with left:
            _notes(run)
        with right:
            _settings(run)
        _archive_and_delete(run)


def _links(run: RunSummary) -> None:
    first, second, third, _ = st.columns(4)
    if run.kind == "capture" and run.state in ("finished", "cancelled", "running", "unfinished"):
        with first:
            go("Open on Sinks", "sinks", run=run.id)
        with second:
            go("Open on Heads", "heads", run=run.id)
        with third:
            go("Compare", "compare", b=run.id)
    elif run.kind == "sweep":
        with first:
            go("Open on Trade-off", "tradeoff", model=run.model)
    elif run.kind == "export" and run.state == "finished":
        with first:
            go("Open on Export", "export", prune=Path(str(results.run_at(run.path).spec.get("run"))).name)
    elif run.kind == "prune" and run.state == "finished":
        with first:
            go("Open on Prune", "prune", model=run.model, result=run.id)
        with second:
            go("Export", "export", prune=run.id)


def _unfinished(run: RunSummary) -> None:
    """How far an interrupted capture came, and going on with it."""
    if run.kind != "capture" or run.state not in ("unfinished", "cancelled", "failed"):
        return
    try:
        opened = results.run_at(run.path, unfinished=True)
        spec = parse_spec(opened.spec)
    except SapError as error:
        st.error(plain_text(str(error)))
        return
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.info(f"This capture was not finished: {opened.partial or 'no step'} recorded. It can be looked at as it is.")
    if right.button("Go on with it", key=f"resume_{run.id}", width="stretch"):
        if jobs.submit(spec, "capture", run_dir=str(run.path), resume=True):
            st.toast("It goes on; the sidebar shows how far it is.")


def _notes(run: RunSummary) -> None:
    with st.form(f"meta_{run.id}", border=False):
        name = st.text_input("Name", run.name, help="Shown in every list.")
        tags = st.text_input(
            "Tags", ", ".join(run.tags), placeholder="separated by commas", help="To find runs that belong together."
        )
        notes = st.text_area("Notes", run.notes, height=90, help="For yourself; they travel with the archive.")
        if st.form_submit_button("Save"):
            try:
                update_run(run.path, name=name, tags=tags.split(","), notes=notes)
                st.rerun()
            except SapError as error:
                st.error(plain_text(str(error)))


def _settings(run: RunSummary) -> None:
    try:
        opened = results.run_at(run.path, unfinished=True)
    except SapError:
        return
    st.caption("Settings")
    rows = [
        {"setting": key, "value": str(value)}
        for key, value in opened.spec.items()
        if value not in (None, "") and key != "name"
    ]
    st.dataframe(rows, hide_index=True, height=240, alt="Settings of the run")
    if run.state == "failed":
        st.error(plain_text(opened.result.get("error", "It failed without a message.")))


def _archive_and_delete(run: RunSummary) -> None:
    left, middle, right = st.columns([1, 1, 2], vertical_alignment="center")
    with left:
        if run.state in ("finished", "cancelled", "failed"):
            download_archive(run.id)
    with middle.popover("Delete", width="stretch"):
        st.markdown(f"Delete **{plain_text(run.name)}** and its {format_bytes(run.bytes)} for good?")
        if st.button("Delete it", type="primary", key=f"delete_{run.id}"):
            try:
                delete_run(run.path)
            except SapError as error:
                st.error(plain_text(str(error)))
            else:
                st.toast(f"Deleted {plain_text(run.id)}.")
                st.rerun()
    right.caption(plain_text(run.path))


def leftovers_panel() -> None:
    """Show leftovers of killed commands, and their removal."""
    found = list_leftovers()
    if not found:
        return
    total = format_bytes(sum(one.bytes for one in found))
    with st.expander(f"Left behind by interrupted work: {total}", icon=":material/delete_sweep:"):
        st.dataframe(
            [{"path": str(one.path), "what": one.what, "size": format_bytes(one.bytes)} for one in found],
            hide_index=True,
            alt="Leftovers",
        )
        also = any(one.resumable for one in found) and st.checkbox(
            "Also those that could be continued", help="A streamed pruning goes on when the same command is run again."
        )
        if st.button("Remove", key="clean_leftovers"):
            removed = clean_leftovers(found, resumable=also)
            st.toast(f"Removed {len(removed)} of {len(found)}.")
            st.rerun()


def import_panel() -> None:
    """Show the import of a run from its archive."""
    with st.expander("Bring in a run from its archive", icon=":material/upload:"):
        brought = upload_archive(key="import")
        if brought is not None and is_run(runs_root() / brought):
            st.success(f"Here now: {plain_text(describe_run(runs_root() / brought).name)}")
