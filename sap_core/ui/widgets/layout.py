"""The frame of every page: navigation, heading, running work, and snippets for the command line and Python."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from ...errors import SapError
from ...file_locks import check_platform
from .formatting import plain_text
from .jobs import (
    POLL_SECONDS,
    client,
    move,
    open_jobs,
    progress_share,
    progress_text,
    title,
)
from .streamlit_internals import page_runs_without_app

LOGO = Path(__file__).with_name("logo.svg")
ICON = Path(__file__).with_name("icon.svg")
REST = "rerun_if_changed"
STYLE = Path(__file__).with_name("studio.css")
# section -> (file, title, address, icon, help)
PAGES: dict[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "": (("start", "Start", "start", "home", "What this is, and the demo in one click"),),
    "See": (
        ("capture", "Capture", "capture", "radio_button_checked", "Run a model and record its attention"),
        ("sinks", "Sinks", "sinks", "blur_on", "Replay a run: text, heatmap, sinks"),
        ("heads", "Heads", "heads", "grid_on", "Which heads are unstable, and why"),
        ("compare", "Compare", "compare", "compare_arrows", "Two runs on one time axis"),
    ),
    "Decide": (
        (
            "interventions",
            "Interventions",
            "interventions",
            "science",
            "Block sinks, leave heads out: what do they do?",
        ),
        ("prune", "Prune", "prune", "content_cut", "Plan, apply, see what it cost"),
        ("tradeoff", "Trade-off", "tradeoff", "scatter_plot", "Every measured plan: quality against speed and size"),
        ("export", "Export", "export", "download", "A checkpoint that loads elsewhere"),
    ),
    "Library": (("runs", "Runs", "runs", "history", "Everything that was run"),),
}


def navigation(folder: str = "pages") -> Any:
    """Return the pages, by section; to be called from app.py, next to which ``folder`` is."""
    try:
        check_platform()
    except SapError as error:
        st.error(plain_text(str(error)))
        st.stop()
    return st.navigation(
        {
            section: [
                st.Page(
                    f"{folder}/{file}.py",
                    title=title,
                    url_path=address,
                    icon=f":material/{icon}:",
                    default=file == "start",
                    help=help,
                )
                for file, title, address, icon, help in pages
            ]
            for section, pages in PAGES.items()
        }
    )


@st.cache_resource(show_spinner=False)
def warm_up(page: str) -> None:
    """Start the worker while the first visitor reads, so that the first run does not wait for its imports.

    And, once for each ``page``, tell Python's garbage collector to ignore what it imported: Streamlit runs a full
    collection after every script, and over all of plotly and pandas that takes longer than most scripts.
    """
    client().ensure_worker()
    gc.collect()
    gc.freeze()


def heading(title: str, sentence: str) -> None:
    """Show the page's title and a sentence on its purpose. Every page calls this first."""
    _enter_through_app()
    st.session_state["figure_runs"] = []  # until the page says which runs its figures show
    st.html(STYLE)
    st.title(title, anchor=False)
    st.caption(sentence)


def _enter_through_app() -> None:
    """Restart through the app's navigation if a deep link has run the page's file itself."""
    if page_runs_without_app():
        navigation()
        st.rerun()


def go(label: str, page: str, *, icon: str | None = None, **address: Any) -> None:
    """Show a link to another page of the studio, with its address."""
    query = {key: str(value) for key, value in address.items()}
    try:
        st.page_link(f"pages/{page}.py", label=label, icon=icon or ":material/arrow_forward:", query_params=query)
    except (KeyError, StreamlitAPIException):  # a page run alone, as tests do, knows no other page
        st.markdown(f"{label} (page {page})")


def mark_stale() -> None:
    """Note the start of a run of a page with a fragment that uses `rerun_if_changed`."""
    st.session_state[REST] = None


def rerun_if_changed(thing: Any) -> None:
    """Run the whole page again, from a fragment, if the rest of it was drawn for another ``thing``."""
    drawn = st.session_state.get(REST)
    st.session_state[REST] = thing
    if drawn not in (None, thing):
        st.rerun()


def visit(page: str, **address: Any) -> None:
    """Switch to another page of the studio."""
    try:
        st.switch_page(f"pages/{page}.py", query_params={key: str(value) for key, value in address.items()})
    except (KeyError, StreamlitAPIException):  # as in `go`
        st.markdown(f"To page {page}.")


def show_snippets(command: str, python: str) -> None:
    """Show the same action from the command line and from Python, to copy."""
    with st.expander("CLI and Python", icon=":material/terminal:"):
        st.code(command, language="bash", wrap_lines=True)
        st.code(python, language="python", wrap_lines=True)


def nothing_here(sentence: str, label: str, page: str) -> None:
    """Show an empty page: what is missing and where to get it."""
    with st.container(border=True):
        st.markdown(sentence)
        go(label, page)


def work_panel() -> None:
    """Show, in the sidebar, what runs now in any tab. Polls only while something runs."""
    if open_jobs():
        with st.sidebar:
            st.markdown("**Running**")
            _work_list()


@st.fragment(run_every=2 * POLL_SECONDS)
def _work_list() -> None:
    jobs = open_jobs()
    if not jobs:
        st.caption("Nothing is running any more.")
        return
    for lane, heading_ in (("interactive", ""), ("background", "In the background")):
        waiting = 0
        for number, job in enumerate(job for job in jobs if job.lane == lane):
            if heading_ and not number:
                st.caption(heading_)
            st.progress(progress_share(job), text=f"{title(job)} · {progress_text(job)}")
            with st.container(horizontal=True, gap="small"):
                st.button(
                    f"Cancel this {job.kind.replace('_', ' ')}",
                    key=f"panel_{job.id}",
                    on_click=client().cancel,
                    args=(job.id,),
                    type="tertiary",
                )
                if job.state == "queued":
                    if waiting:
                        st.button(
                            "Earlier",
                            key=f"earlier_{job.id}",
                            on_click=move,
                            args=(job.id, waiting - 1),
                            type="tertiary",
                            help="Change places with the job before it.",
                        )
                    waiting += 1
