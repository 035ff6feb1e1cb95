"""The command line and the Python lines that the pages show are real ones."""

from __future__ import annotations

import ast
import shlex

import click
import pytest
import typer.main

import sap_core
from sap_core import cli
from sap_core.choices.sink_rules import SinkRule
from sap_core.specs import (
    CaptureSpec,
    ExportSpec,
    PruneCheckpointSpec,
    PruneSpec,
)
from sap_core.ui.widgets import snippets

SPECS = [
    CaptureSpec(model="demo:stories-diffusion", prompts=("once upon a time",), steps=64),
    CaptureSpec(
        model="m", prompts=("it's", "b"), length=64, steps=8, sampler="random", block_length=8, temperature=0.5,
        guidance=1.5, seed=3, name="n", dtype="bfloat16", device="cpu", trust_remote_code=True, mask_token_id=5,
    ),
    PruneSpec(model="m", method="sink", sparsity=0.5, pattern="2:4", calibration="a b.txt", samples=8, name="x"),
    PruneSpec(model="m", method="heads", heads=((0, 1), (2, 3))),
    PruneSpec(model="m", method="heads", run="runs/r"),
    PruneCheckpointSpec(model="m", method="wanda", order="one_shot", out="OUT", overwrite=True, verify=False),
]  # fmt: skip


def parsed(command: str) -> click.Context:
    """The command as the real command line reads it, all options known; nothing is run."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words.pop(0) == "sap"
    group = typer.main.get_command(cli.app)
    context = click.Context(group, info_name="sap")
    name, chosen, rest = group.resolve_command(context, words)
    return chosen.make_context(name, rest, parent=context)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{spec.model}-{spec.seed}")
def test_the_command_says_what_the_spec_says(spec):
    given = parsed(snippets.command_of(spec, "OUT")).params
    for field, value in spec.model_dump(exclude={"kind"}).items():
        if value is None or (value == type(spec).model_fields[field].default and field not in ("prompts",)):
            continue
        option = given[{"prompts": "prompt"}.get(field, field)]
        if field == "heads":
            assert option == "0.1,2.3"
        else:
            assert (list(option) if isinstance(value, tuple) else option) == (
                list(value) if isinstance(value, tuple) else value
            )
    assert given["out"] == "OUT"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{spec.model}-{spec.seed}")
def test_the_python_lines_use_the_public_api_and_name_every_field(spec):
    text = snippets.python_of(spec, "out")
    tree = ast.parse(text)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "sap"
    }
    assert used and used <= set(sap_core.__all__)
    keywords = {word.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords}
    told = {name for name, _ in snippets._told(spec)} - {"model"}
    assert {
        {"prompts": "prompt"}.get(name, name) if len(getattr(spec, "prompts", ())) == 1 else name for name in told
    } <= keywords


@pytest.mark.parametrize("command", ["sinks", "heads"])
def test_looking_at_a_run(command):
    line, python = snippets.reading(
        command, "/runs/a b", "sap.rank_heads(run)", options={"rule": "rate", "threshold": 0.3}
    )
    given = parsed(line).params
    assert (given["run"], given["rule"], given["threshold"]) == ("/runs/a b", "rate", 0.3)
    ast.parse(python)


def test_comparing_and_exporting():
    assert parsed(snippets.comparing(["/r/a", "/r/b b", "/r/c"], SinkRule("zscore"))[0]).params["runs"] == [
        "/r/a",
        "/r/b b",
        "/r/c",
    ]
    ast.parse(snippets.comparing(["/r/a", "/r/b"], SinkRule("zscore"))[1])
    spec = ExportSpec(run="/r/p", out="/x y", overwrite=True, verify=False)
    given = parsed(snippets.exporting(spec)[0]).params
    assert (given["run"], given["out"], given["overwrite"], given["verify"]) == ("/r/p", "/x y", True, False)
    ast.parse(snippets.exporting(spec)[1])


def test_taking_a_figure_along():
    line, python = snippets.taking("/r/a b", {"layer": 4, "head": None, "step": 3, "rule": "rate", "threshold": 0.3})
    given = parsed(line).params
    assert (given["runs"], given["layer"], given["head"], given["step"]) == (["/r/a b"], 4, None, 3)
    assert (given["rule"], given["threshold"], given["out"]) == ("rate", 0.3, "heatmap.html")
    names = {
        alias.name for node in ast.walk(ast.parse(python)) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    from sap_core import plots

    assert names and names <= set(plots.__all__) and all(getattr(plots, name) for name in names)
