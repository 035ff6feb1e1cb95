"""The command and the Python lines that the pages show: both are run, and both do what the spec says."""

from __future__ import annotations

import ast
import json
import shlex

import click
import pandas as pd
import pytest
import typer.main

import sap_core as sap
from sap_core import cli
from sap_core.choices.sink_rules import SinkRule
from sap_core.cli.options import _value
from sap_core.errors import InvalidInput
from sap_core.specs import (
    AblateHeadsSpec,
    AblateSinksSpec,
    CaptureSpec,
    ElasticSpec,
    EvaluateSpec,
    ExportSpec,
    HealSpec,
    ProgressivePruneSpec,
    PruneCheckpointSpec,
    PruneSpec,
    PushSpec,
    SearchPruneSpec,
    SweepSpec,
)
from sap_core.specs.options import option_name
from sap_core.ui.widgets import snippets

SPECS = [
    CaptureSpec(model="demo:stories-diffusion", prompts=("once upon a time",), steps=64),
    CaptureSpec(
        model="m", prompts=("it's", "b"), length=64, steps=8, sampler="random", block_length=8, temperature=1 / 3,
        guidance=1.5, seed=3, name="n", dtype="bfloat16", device="cpu", trust_remote_code=True, mask_token_id=5,
        chat=True, keep=0.7, query_stride=2, precision="uint8",
    ),
    PruneSpec(model="m", method="sink", sparsity=0.5, pattern="2:4", calibration="/a b.txt", samples=8, name="x"),
    PruneSpec(model="m", method="heads", heads=((0, 1), (2, 3))),
    PruneSpec(model="m", method="wanda", allocation="table", allocation_table=(0.4, 1 / 3)),
    ProgressivePruneSpec(model="m", method="wanda", budget=0.05, validation="/v t.txt", order="one_shot"),
    SearchPruneSpec(model="m", method="sink", target_speedup=1.3, quality_drop=0.1, duplicates="ignore"),
    SearchPruneSpec(model="m", method="wanda", preset="memory"),
    PruneCheckpointSpec(model="m", method="wanda", order="one_shot", out="/OUT", overwrite=True, verify=False),
    AblateSinksSpec(model="m", top=(1, 5), rule="rate", by="run", what="values", heads=((0, 1), (2, 3)),
                    controls=False),
    AblateHeadsSpec(model="m", scores=("wanda", "flap"), greedy=3, curves=False),
    EvaluateSpec(model="m", baseline="b c", tasks=False, generate=0),
    ExportSpec(run="/r/p 1", out="/x y", overwrite=True, verify=False),
    ElasticSpec(model="m", method="wanda", out="/o p", samples=8),
    HealSpec(model="m", teacher="d e", text="/t x.txt", out="/o p", moving_mask=True, patience=0),
    PushSpec(folder="/f g", repo="a/b", private=True, revision="v1"),
    SweepSpec(model="m", methods=("wanda", "sink"), sparsities=(0.3, 0.5), seeds=(0, 1), skip_invalid=True),
    SweepSpec(model="m", preset="ablation", patterns=("2:4", "unstructured"), speed=True),
]  # fmt: skip


def parsed(command: str) -> tuple[str, click.Context]:
    """The command as the real command line reads it, all options known; nothing is run."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words.pop(0) == "sap"
    group = typer.main.get_command(cli.app)
    context = click.Context(group, info_name="sap")
    name, chosen, rest = group.resolve_command(context, words)
    while hasattr(chosen, "resolve_command"):
        _, chosen, rest = chosen.resolve_command(context, rest)
    return name, chosen.make_context(name, rest)


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_the_command_says_all_that_the_spec_says(number):
    spec = SPECS[number]
    writes = not isinstance(spec, EvaluateSpec | PushSpec)
    name, context = parsed(snippets.command_of(spec, "/OUT" if writes else None))
    given, fields = dict(context.params), {}
    given["prompts"] = given.pop("prompt", None)
    for field, info in type(spec).model_fields.items():
        value = given.get(field)
        if not value and value not in (0, False):
            continue
        fields[field] = tuple(value) if field == "prompts" else _value(field, info, value)
    assert name == snippets.ACTIONS[type(spec)].command.split()[0]
    assert type(spec).build(**fields) == spec
    assert given.get("streamed", False) == isinstance(spec, PruneCheckpointSpec)
    assert given.get("out") == getattr(spec, "out", "/OUT" if writes else None)


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_the_python_lines_use_the_public_api_and_name_every_field(number):
    spec = SPECS[number]
    tree = ast.parse(snippets.python_of(spec, "out"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "sap"
    }
    assert used <= set(sap.__all__) and (used or isinstance(spec, SweepSpec))
    keywords = {word.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords}
    told = {name for name, _ in snippets._told(spec)} - set(snippets.ACTIONS[type(spec)].positional)
    single = isinstance(spec, CaptureSpec) and len(spec.prompts) == 1
    assert {"prompt" if single and name == "prompts" else name for name in told} <= keywords


def test_every_option_has_the_name_of_its_field():
    assert option_name("prompts", CaptureSpec.model_fields["prompts"]) == "--prompt"
    assert option_name("calibration_length", PruneSpec.model_fields["calibration_length"]) == "--calibration-length"


# ---- run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("snippets")


@pytest.fixture
def place(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("SAP_RUNS", str(home / "runs"))
    return home


def python(text: str) -> dict:
    """The names that the lines leave behind."""
    names: dict = {}
    exec(compile(text, "snippet", "exec"), names)
    return names


def command(text: str, capsys) -> dict | list:
    """What the command prints as JSON; one document for each line that begins with sap."""
    capsys.readouterr()
    status = cli.main([*shlex.split(text.replace("\\\n", " "))[1:], "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def run(tiny_diffusion, home):
    made = sap.capture(str(tiny_diffusion), prompt="w1 w2", length=12, steps=4, out=home / "looked at")
    return str(made.path)


@pytest.mark.slow
def test_a_capture_is_the_same_either_way(place, tiny_diffusion, capsys):
    spec = CaptureSpec(model=str(tiny_diffusion), prompts=("w1 w2",), length=12, steps=5, seed=4)
    told, code = snippets.snippets_of(spec, "from-command")
    assert command(told, capsys)["text"] == python(code)["run"].text
    assert sap.open_run("from-command").spec == spec.model_dump(mode="json")


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_a_pruning_is_the_same_either_way(place, tiny_diffusion, capsys):
    fields = {"method": "heads", "heads": ((0, 1), (2, 3))}
    told, code = snippets.snippets_of(PruneSpec(model=str(tiny_diffusion), **fields), "out-command", "out-python")
    document = command(f"{told} --overwrite", capsys)
    code = code.replace("'out-python'", "'out-python', overwrite=True")
    assert python(code)["pruned"].report["weights_sha256"] == document["report"]["weights_sha256"]
    assert (place / "out-python" / "README.md").is_file()


@pytest.mark.slow
def test_a_streamed_pruning_is_the_same_either_way(place, tiny_diffusion, capsys):
    found = []
    for name in ("streamed-command", "streamed-python"):
        spec = PruneCheckpointSpec(model=str(tiny_diffusion), method="magnitude", out=str(place / name), verify=False)
        told, code = snippets.snippets_of(spec)
        found.append(command(told, capsys)["report"] if "command" in name else python(code)["done"].report)
    assert found[0]["weights_sha256"] == found[1]["weights_sha256"]


@pytest.mark.slow
def test_an_evaluation_is_the_same_either_way(place, tiny_diffusion, capsys):
    spec = EvaluateSpec(model=str(tiny_diffusion), samples=2, draws=1, generate=0, tasks=False)
    told, code = snippets.snippets_of(spec)
    assert command(told, capsys)["likelihood"] == python(code)["measured"]["likelihood"]


@pytest.mark.slow
def test_an_export_and_an_elastic_checkpoint_are_written_either_way(place, tiny_diffusion, capsys):
    from sap_core.jobs.cache import ModelCache
    from sap_core.jobs.execute import execute
    from sap_core.progress import silent

    path = execute(PruneSpec.build(model=str(tiny_diffusion), method="magnitude"), place / "p", ModelCache(), silent)
    for name in ("e1", "e2"):
        told, code = snippets.snippets_of(ExportSpec(run=str(path), out=str(place / name), verify=False))
        size = command(told, capsys)["bytes"] if name == "e1" else python(code)["report"].bytes
        assert size > 0 and (place / name / "sap_manifest.json").is_file()
    for name in ("l1", "l2"):
        spec = ElasticSpec(model=str(tiny_diffusion), method="magnitude", out=str(place / name), verify=False)
        told, code = snippets.snippets_of(spec)
        made = command(told, capsys) if name == "l1" else python(code)["smaller"].info.ref
        assert made and (place / name / "sap_elastic.json").is_file()


@pytest.mark.slow
def test_a_push_gets_as_far_as_the_token(place, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    told, code = snippets.snippets_of(PushSpec(folder=str(place / "none"), repo="a/b"))
    with pytest.raises(InvalidInput, match="none"):
        python(code)
    assert cli.main(shlex.split(told)[1:]) == 2 and "none" in capsys.readouterr().err


@pytest.mark.slow
def test_looking_at_a_run_gives_the_same_either_way(place, run, capsys):
    rule = SinkRule("rate", 1 / 3)
    asked = f"found = sap.sink_summary(run, rule={rule.name!r}, threshold={rule.threshold!r}, sample=0)"
    told, code = snippets.reading("sinks", run, asked, options={"rule": rule.name, "threshold": rule.threshold})
    assert command(told, capsys) == json.loads(json.dumps(python(code)["found"]))
    told, code = snippets.reading("heads", run, "found = sap.rank_heads(run, rule='rate')", options={"rule": "rate"})
    heads = python(code)["found"]
    assert [row["instability"] for row in command(told, capsys)] == heads["instability"].tolist()


@pytest.mark.slow
def test_comparing_gives_the_same_either_way(place, run, capsys):
    told, code = snippets.comparing([run, run], SinkRule("zscore"))
    document = command(told, capsys)
    found = python(code)["found"]
    assert document["names"] == list(found.names) and document["difference"] == found.difference.tolist()


@pytest.mark.parametrize("kind", ["heatmap", "kinds"])
@pytest.mark.slow
def test_the_figure_is_the_same_either_way_with_its_sinks(place, run, capsys, kind):
    rule = SinkRule("column_sum", 0.01)
    told, code = snippets.figure(run, rule, kind=kind, layer=1, head=2, step=3)
    files = [place / f"{kind}-{way}.parquet" for way in ("command", "python")]
    command(told.replace("heatmap.html", str(files[0])), capsys)
    opened = f"import sap_core as sap\nrun = sap.open_run({run!r})\n"
    names = python(opened + code.replace("heatmap.html", str(files[1])))
    first, second = (pd.read_parquet(file) for file in files)
    pd.testing.assert_frame_equal(first, second)
    assert names["view"].sinks.any() and names["view"].label == "layer 1, head 2"
