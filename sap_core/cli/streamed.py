"""``sap prune --streamed``: from the files of a model to those of a pruned one, for models larger than the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .console import emit, work
from .prune_text import export_lines, plan_lines

if TYPE_CHECKING:
    from ..specs import PruneOptions


def prune_streamed(
    spec: PruneOptions, out: str | None, *, overwrite: bool, verify: bool, dry_run: bool, as_json: bool
) -> None:
    """Prune as ``spec`` says, or with ``dry_run`` only print what is known beforehand."""
    with work("prune", lambda: "finished blocks are kept beside --out; the same command goes on") as progress:
        from ..pruning.planning.memory_check import check_streamed
        from ..specs import PruneCheckpointSpec

        check_streamed(spec)
        if dry_run:
            from ..models.inspection import inspect_model
            from ..pruning.planning.make_plan import make_plan

            plan = make_plan(inspect_model(spec.model, **spec.inspecting), spec)
            document: dict[str, Any] = {"plan": plan.to_dict()}
        else:
            from ..export.streamed import prune_checkpoint

            target = {"out": out, "overwrite": overwrite, "verify": verify}
            checkpoint = PruneCheckpointSpec.build(**spec.model_dump(exclude={"kind"}), **target)
            done = prune_checkpoint(spec=checkpoint, progress=progress)
            plan = done.plan
            export = done.export.to_dict()
            document = {"plan": plan.to_dict(), "out": str(done.folder), "report": done.report, "export": export}

    def show() -> Iterator[str]:
        yield from plan_lines(plan)
        if dry_run:
            yield "Dry run: nothing was written."
            return
        yield ""
        yield from export_lines(done.export)

    emit(document, as_json, show)
