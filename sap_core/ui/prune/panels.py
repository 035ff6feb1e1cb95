"""The plan of the form, the job that applies it, and the applied plans of the Prune page."""

from __future__ import annotations

import streamlit as st

from ...byte_size import format_bytes
from ...choices.methods import METHODS
from ...errors import SapError
from ...jobs.layout import JobStatus
from ...models.info import ModelInfo
from ...models.memory import available_memory
from ...pruning.planning.make_plan import make_plan
from ...pruning.planning.memory_check import pruning_memory
from ...pruning.planning.plan import PruningPlan
from ...runs.listing import RunSummary
from ...runs.reading import Run
from ...specs import PruneOptions, PruneSpec
from ..widgets import results
from ..widgets.address import address_choice, choose
from ..widgets.formatting import format_time, plain_text
from ..widgets.layout import go
from .applied_plans import show_candidates
from .plan_form import load_plan
from .prune_result import show_outcome

DENSE = "dense"  # in the address: no applied plan is looked at


def plan_of(spec: PruneOptions, info: ModelInfo) -> PruningPlan:
    """Return the plan of a spec; takes milliseconds.

    Raises:
        InvalidInput: the spec can't be carried out.
    """
    follows = (
        isinstance(spec, PruneSpec) and METHODS[spec.method].ranks_heads and spec.heads is None and spec.run
    ) or None
    ranking = results.head_order(follows) if follows else None
    return make_plan(info, spec, ranking)


def memory_line(info: ModelInfo, spec: PruneOptions) -> None:
    """Show the memory that applying needs, and the memory available."""
    needed = pruning_memory(info, spec.dtype, spec.device)
    st.caption(
        f"Apply works on a copy: the model itself stays as it is. Both take {format_bytes(needed)} of memory; "
        f" {format_bytes(available_memory(spec.device))} are free."
    )


def follow(status: JobStatus | None) -> None:
    """Show the result of the session's job once it is finished; later the one in the address."""
    if status is not None and status.kind == "prune" and status.state == "finished" and status.run_path is not None:
        if st.session_state.get("prune_shown") != status.id:
            st.session_state["prune_shown"] = status.id
            choose("result", status.run_path.name)


def candidates(model: str) -> None:
    """Show every applied plan of this model, and the selected one in full."""
    runs = [run for run in results.runs_of("prune", states=("finished",)) if run.model == model]
    if not runs:
        st.caption("No plan has been applied to this model yet.")
        return
    st.subheader("Result", anchor=False)
    known = {run.id: run for run in runs}
    chosen = address_choice(
        "Applied plan", [*known, DENSE], "result",
        format_func=lambda name: f"{known[name].name} · {format_time(known[name].created)}"
        if name in known
        else "none: the dense model",
        help="Every plan that was applied to this model, newest first. The model itself is never changed.",
    )  # fmt: skip
    if chosen != DENSE:
        try:
            run = results.run_at(known[chosen].path)
        except SapError as error:
            st.error(plain_text(str(error)))
            return
        _actions(run, runs)
        show_outcome(run)
    if len(runs) > 1:
        show_candidates(model, chosen)


def _actions(run: Run, runs: list[RunSummary]) -> None:
    """Show links for the plan in view, and its deletion."""
    first, second, third = st.columns(3, vertical_alignment="center")
    with first:
        go("Export this checkpoint", "export", prune=run.id)
    second.button(
        "Set the form to this plan", on_click=load_plan, args=(run.spec,), type="tertiary", icon=":material/tune:",
        width="stretch",
    )  # fmt: skip
    order = [one.id for one in runs]
    earlier = next((one for one in runs[order.index(run.id) + 1 :]), None)
    third.button(
        "Undo",
        on_click=_undo,
        args=(earlier,),
        icon=":material/undo:",
        width="stretch",
        help=f"Back to {f'the plan before, {plain_text(earlier.name)}' if earlier else 'the dense model'}: the form "
        "and the result. The plan stays in the list, and on Runs until it is deleted there.",
    )


def _undo(earlier: RunSummary | None) -> None:
    choose("result", earlier.id if earlier else DENSE)
    if earlier is not None:
        load_plan(results.run_at(earlier.path).spec)
