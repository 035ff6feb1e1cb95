"""``sap runs``: the history, and runs as single files."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options as opt
from .console import emit, size, table


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="List, show, edit, delete, export and import runs.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(show)
    group.command()(edit)
    group.command()(delete)
    group.command("export")(export)
    group.command("import")(import_)
    app.add_typer(group, name="runs")


def list_(
    kind: Annotated[
        str | None, typer.Option(help="Only capture, prune, evaluate or export runs.", show_default=False)
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """The runs under ./runs (or $SAP_RUNS), newest first."""
    from ..runs.listing import list_runs
    from ..runs.paths import runs_root

    found = list_runs(kind=kind)

    def lines():
        if not found:
            return [f"No runs in {runs_root()}. `sap capture` makes one."]
        rows = [run.to_dict() | {"size": size(run.bytes), "when": run.created[:16].replace("T", " ")} for run in found]
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
    """One run: what was asked, what came out, what made it."""
    from ..runs.listing import describe_run
    from ..runs.reading import open_run

    opened = open_run(run, unfinished=True)
    summary = describe_run(opened.path).to_dict()
    manifest = {key: value for key, value in (opened.manifest or {}).items() if key != "files"}
    document = {**summary, "spec": opened.spec, "result": opened.result, "manifest": manifest}

    def lines():
        facts = {key: summary[key] for key in ("name", "kind", "state", "created", "seconds", "path")}
        facts |= {"size": size(summary["bytes"])}
        facts |= {key: summary[key] for key in ("tags", "notes") if summary[key]}
        facts |= {f"spec {key}": value for key, value in opened.spec.items() if value not in (None, "")}
        yield from (line.rstrip() for line in table(_pairs(facts), {"key": "", "value": ""})[2:])
        if opened.text:
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
    """Name a run, tag it, write notes to it."""
    from ..runs.meta import update_run

    changed = update_run(run, name=name, tags=tags.split(",") if tags is not None else None, notes=notes)
    meta = changed.meta
    emit({"run": str(changed.path), **meta}, as_json, lambda: [f"{key}: {value}" for key, value in meta.items()])


def delete(
    run: Annotated[list[str], typer.Argument(help="Folders or ids.", show_default=False)],
    as_json: opt.Json = False,
) -> None:
    """Delete runs for good."""
    from ..runs.listing import check_deletable, delete_run

    paths = [str(check_deletable(item)) for item in run]  # all of them, before the first goes
    for path in paths:
        delete_run(path)
    emit({"deleted": paths}, as_json, lambda: [f"Deleted {path}" for path in paths])


def export(
    run: opt.Run,
    file: Annotated[str, typer.Argument(metavar="FILE.zip", help="Must not exist.", show_default=False)],
    as_json: opt.Json = False,
) -> None:
    """Pack a run into one zip file."""
    from ..runs.archive import export_archive

    path = export_archive(run, file)
    emit(
        {"archive": str(path), "bytes": path.stat().st_size}, as_json, lambda: [f"{path} ({size(path.stat().st_size)})"]
    )


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE.zip", help="Made by `sap runs export`.", show_default=False)],
    as_json: opt.Json = False,
) -> None:
    """Unpack a run into ./runs (or $SAP_RUNS), every file checked."""
    from ..runs.archive import import_archive

    run = import_archive(file)
    emit({"run": str(run.path)}, as_json, lambda: [f"Run: {run.path}"])


def _pairs(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in facts.items()]
