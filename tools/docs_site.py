"""Hooks of the documentation's site: reference pages made from the code, and files that lie outside ``docs``."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
#: page of the site -> file of the repository
FROM_ROOT = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
API_GROUPS = {
    "Models": ("models",),
    "Capture": ("capturing", "attention"),
    "Runs": ("runs",),
    "Sinks and heads": ("sinks", "choices"),
    "Pruning": ("pruning",),
    "Evaluation": ("evaluation",),
    "Export": ("export",),
    "Many runs": ("sweeps",),
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that are not in ``docs``. Called by MkDocs."""
    pages = {name: (ROOT / source).read_text(encoding="utf-8") for name, source in FROM_ROOT.items()}
    pages = {name: _links_from_root(text) for name, text in pages.items()}
    pages |= {
        "reference/cli.md": "\n".join(cli_page()),
        "reference/api.md": "\n".join(api_page()),
        "reference/specs.md": "\n".join(specs_page()),
        "reference/tables.md": "\n".join(tables_page()),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    pictures = {f"assets/screenshots/{path.name}": path for path in (ROOT / "assets" / "screenshots").glob("*.png")}
    pictures["assets/icon.svg"] = next(ROOT.glob("sap_core/ui/**/icon.svg"))
    for name, path in pictures.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point pictures of the repository to their copies in the site. Called by MkDocs."""
    return markdown.replace("](../assets/", "](assets/")


def _links_from_root(text: str) -> str:
    return text.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")


def cli_page() -> Iterator[str]:
    """Lines of the reference of the command line."""
    from sap_core.cli import app

    yield "# Command line\n"
    yield "Made from the commands themselves; `sap COMMAND --help` prints the same. `--json` prints one JSON document"
    yield "on standard output. Exit status: 0 done, 1 failed or cancelled, 2 wrong use.\n"
    yield from _command("sap", typer.main.get_command(app))


def _command(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    if name != "sap":
        yield f"{'#' * len(name.split())} `{name}`\n"
        yield f"{command.help}\n"
        yield f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```\n"
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    yield from _table(
        {"option": f"`{names}`", "meaning": re.sub(r" *\[default: \(?(.*?)\)?\]$", r" Default: \1.", text)}
        for names, text in filter(None, records)
        if "--help" not in names
    )
    for child in getattr(command, "commands", {}).values():
        yield from _command(f"{name} {child.name}", child)


def api_page() -> Iterator[str]:
    """Lines of the reference of the Python API: every name of the stub, by what it is about."""
    stub = ast.parse((ROOT / "sap_core" / "__init__.pyi").read_text(encoding="utf-8"))
    homes = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    homes.pop("__version__")
    yield "# Python API\n"
    yield "Made from the docstrings. `import sap_core as sap` makes every name below available; each loads what it"
    yield "needs when it is first used.\n"
    for title, folders in API_GROUPS.items():
        yield f"## {title}\n"
        for name in [name for name, home in homes.items() if home.split(".")[0] in folders]:
            yield f"::: sap_core.{homes.pop(name)}.{name}\n"
    if homes:
        raise ValueError(f"public names in no group of API_GROUPS: {', '.join(homes)}")


def specs_page() -> Iterator[str]:
    """Lines of the reference of the specs and their fields."""
    from pydantic import BaseModel

    import sap_core.specs as specs

    yield "# Specs\n"
    yield "Every action is a typed spec. A field is an option of the command line, an argument in Python, and a widget"
    yield "in the studio.\n"
    for name in specs.__all__:
        spec = getattr(specs, name)
        if not (isinstance(spec, type) and issubclass(spec, BaseModel)) or spec is specs.Spec:
            continue
        yield f"## {name}\n"
        yield f"{inspect.getdoc(spec)}\n"
        yield from _table(
            {
                "field": f"`{key}`",
                "type": _type(field.annotation),
                "default": "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`",
                "meaning": ". ".join(filter(None, [field.description, _bounds(field.metadata)])),
            }
            for key, field in spec.model_fields.items()
        )


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"typing\.|(\w+\.)+(?=[A-Z])", "", text)


def _bounds(metadata: list[Any]) -> str:
    signs = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [(sign, getattr(item, key, None)) for item in metadata for key, sign in signs.items()]
    return ", ".join(f"{sign} {value}" for sign, value in found if value is not None)


def tables_page() -> Iterator[str]:
    """Lines of the reference of everything that is chosen by name."""
    from sap_core.choices.allocations import ALLOCATIONS
    from sap_core.choices.methods import METHODS
    from sap_core.choices.samplers import SAMPLERS
    from sap_core.choices.sink_rules import SINK_RULES
    from sap_core.models import families_table

    yield "# Methods, samplers, rules, families\n"
    yield "Made from the tables that the studio, the command line and Python read.\n"
    tables = {
        "Pruning methods": METHODS,
        "Layer allocations": ALLOCATIONS,
        "Samplers": SAMPLERS,
        "Sink rules": SINK_RULES,
    }
    for title, table in tables.items():
        yield f"## {title}\n"
        yield from _table({"name": f"`{name}`", **_facts(row)} for name, row in table.items())
    yield "## Model families\n"
    yield from _table(families_table())


def _facts(row: Any) -> dict[str, Any]:
    names = {
        "title": "title",
        "help": "what it does",
        "source": "source",
        "patterns": "patterns",
        "threshold": "threshold",
    }
    return {title: getattr(row, key) for key, title in names.items() if hasattr(row, key)}


def _table(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of a Markdown table, with an empty one behind it; nothing for no rows."""
    rows = list(rows)
    if not rows:
        return
    yield f"| {' | '.join(rows[0])} |"
    yield "|---" * len(rows[0]) + "|"
    for row in rows:
        yield f"| {' | '.join(_cell(value) for value in row.values())} |"
    yield ""


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else "" if value is None else str(value)
    escaped = " ".join(text.split()).replace("|", "\\|")
    return escaped if escaped.startswith("`") else escaped.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[")
