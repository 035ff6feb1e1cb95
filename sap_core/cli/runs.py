"""``sap runs``: list, edit, check, delete, export and import runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from ..byte_size import format_bytes
from . import options as opt
from .console import emit, table


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    group = typer.Typer(help="List, show, edit, delete, export and import runs.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(show)
    group.command()(edit)
    group.command()(delete)
    group.command()(check)
    group.command()(clean)
    group.command("export")(export)
    group.command("import")(import_)
    app.add_typer(group, name="runs")


def list_(
    kind: Annotated[
        str | None, typer.Option(help="Only capture, prune, evaluate or export runs.", show_default=False)
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """List the runs under ./runs (or $SAP_RUNS), newest first."""
    from ..runs.listing import list_runs
    from ..runs.paths import runs_root

    found = list_runs(kind=kind)

    def lines() -> Iterable[str]:
        if not found:
            return [f"No runs in {runs_root()}. `sap capture` makes one."]
        rows = [
            run.to_dict() | {"size": format_bytes(run.bytes), "when": run.created[:16].replace("T", " ")}
            for run in found
        ]
        columns = {
            "id": "id",
            "kind": "kind",
            "state": "state",
            "when": "created (UTC)",
            "size": "size",
            "name": "name",
        }
        return table(rows, columns)

    emit([run.to_dict() for run in found], as_json, lines)


def show(run: opt.Run, as_json: opt.Json = False) -> None:
    """Show one run: its settings, results, and versions."""
    from ..errors import RunProblem, required
    from ..runs.listing import describe_run, is_run
    from ..runs.paths import resolve_run
    from ..runs.reading import open_run

    summary: dict[str, Any] | None = None
    opened, result, manifest = None, {}, {}
    try:
        opened = open_run(run, unfinished=True)
        manifest = {key: value for key, value in (opened.manifest or {}).items() if key != "files"}
        result = opened.result
    except RunProblem as problem:
        path = resolve_run(run)
        if not is_run(path):
            raise
        summary = describe_run(path).to_dict()
        summary |= {"problem": summary["problem"] or str(problem)}
    if opened is not None:
        summary = describe_run(opened.path).to_dict()
    summary = required(summary, "the run's description")
    spec = opened.spec if opened is not None else {}
    document = {**summary, "spec": spec, "result": result, "manifest": manifest}

    def lines() -> Iterable[str]:
        facts = {key: summary[key] for key in ("name", "kind", "state", "created", "seconds", "path")}
        facts |= {key: summary[key] for key in ("problem",) if summary[key]}
        facts |= {"size": format_bytes(summary["bytes"])}
        facts |= {key: summary[key] for key in ("tags", "notes") if summary[key]}
        facts |= {f"spec {key}": value for key, value in spec.items() if value not in (None, "")}
        yield from (line.rstrip() for line in table(_pairs(facts), {"key": "", "value": ""})[2:])
        if opened is not None and (result.get("text") or result.get("texts")):
            yield ""
            yield opened.text

    emit(document, as_json, lines)


def edit(
    run: opt.Run,
    name: Annotated[str | None, typer.Option(help="A new name.", show_default=False)] = None,
    tags: Annotated[
        str | None, typer.Option(help="All its tags, with commas; '' for none.", show_default=False)
    ] = None,
    notes: Annotated[str | None, typer.Option(help="New notes.", show_default=False)] = None,
    as_json: opt.Json = False,
) -> None:
    """Change the name, tags or notes of a run."""
    from ..runs.meta import update_run

    changed = update_run(run, name=name, tags=tags.split(",") if tags is not None else None, notes=notes)
    meta = changed.meta
    emit({"run": str(changed.path), **meta}, as_json, lambda: [f"{key}: {value}" for key, value in meta.items()])


def delete(
    run: Annotated[list[str], typer.Argument(help="Folders or ids.", show_default=False)],
    as_json: opt.Json = False,
) -> None:
    """Delete runs permanently."""
    from ..runs.listing import check_deletable, delete_run

    paths = [str(check_deletable(item)) for item in run]  # all of them, before the first goes
    for path in paths:
        delete_run(path)
    emit({"deleted": paths}, as_json, lambda: [f"Deleted {path}" for path in paths])


def check(
    run: Annotated[
        list[str] | None, typer.Argument(help="Folders or ids.", show_default="all runs under ./runs or $SAP_RUNS")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Compare every file of runs with the hashes in their manifests; exit status 1 where something is damaged."""
    from ..progress import Progress
    from ..runs.check import check_run, check_runs
    from .console import work

    with work("check", lambda: "nothing was changed") as progress:
        if run:
            found = [check_run(item) for item in run]
        else:
            found = check_runs(tell=lambda done, total, name: progress(Progress("check", done, total, name)))

    def lines() -> Iterable[str]:
        for one in found:
            if one.problems:
                yield f"{one.id}: DAMAGED"
                yield from (f"  {problem}" for problem in one.problems)
            else:
                told = (
                    f"{one.files} files, {format_bytes(one.bytes)}, as written"
                    if one.files
                    else "has no manifest to check"
                )
                yield f"{one.id}: {one.state}, {told}"
        if not found:
            yield "No runs."

    emit([one.to_dict() for one in found], as_json, lines)
    if any(one.problems for one in found):
        raise typer.Exit(1)


def clean(
    folder: Annotated[
        list[str] | None,
        typer.Argument(help="More folders to look into.", show_default="the runs, and where results were written"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also remove streamed prunings that could be continued.")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Remove leftovers of killed commands: hidden half-written results, replaced versions, half-deleted runs."""
    from ..runs.clean import clean_leftovers, list_leftovers

    found = list_leftovers(folder or ())
    removed = [] if dry_run else clean_leftovers(found, resumable=unfinished)

    def lines() -> Iterable[str]:
        if not found:
            yield "Nothing was left behind."
        for one in found:
            what = "removed" if one in removed else "kept" if not dry_run else "found"
            yield f"{what}: {one.path} ({format_bytes(one.bytes)}, {one.what})"

    emit([one.to_dict() | {"removed": one in removed} for one in found], as_json, lines)


def export(
    run: opt.Run,
    file: Annotated[str, typer.Argument(metavar="FILE.zip", help="Must not exist.", show_default=False)],
    as_json: opt.Json = False,
) -> None:
    """Pack a run into one zip file."""
    from ..runs.archive import export_archive

    path = export_archive(run, file)
    emit(
        {"archive": str(path), "bytes": path.stat().st_size},
        as_json,
        lambda: [f"{path} ({format_bytes(path.stat().st_size)})"],
    )


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE.zip", help="Made by `sap runs export`.", show_default=False)],
    as_json: opt.Json = False,
) -> None:
    """Unpack a run into ./runs (or $SAP_RUNS) and check every file."""
    from ..runs.archive import import_archive

    run = import_archive(file)
    emit({"run": str(run.path)}, as_json, lambda: [f"Run: {run.path}"])


def _pairs(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in facts.items()]
