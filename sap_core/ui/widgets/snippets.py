"""The same action from a terminal and from Python, as text to copy. Pure functions of the spec; no Streamlit."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from ...choices.sink_rules import SinkRule
from ...specs import (
    CONVENTIONS,
    CaptureSpec,
    ElasticSpec,
    EvaluateSpec,
    ExportSpec,
    PruneCheckpointSpec,
    PruneSpec,
    PushSpec,
    Spec,
    SweepSpec,
)

# Fields whose option has another name than the field.
OPTIONS = {"prompts": "--prompt"}
COMMANDS = {
    CaptureSpec: "capture",
    PruneSpec: "prune",
    PruneCheckpointSpec: "prune --streamed",
    EvaluateSpec: "evaluate",
}
ALWAYS = {
    CaptureSpec: ("model", "prompts", "length", "steps", "sampler", "seed"),
    PruneSpec: ("model", "method", "sparsity", "pattern", "calibration", "samples", "seed"),
    PruneCheckpointSpec: ("model", "method", "sparsity", "pattern", "calibration", "samples", "seed"),
    EvaluateSpec: ("model", "baseline"),
    ElasticSpec: ("model", "method", "seed"),
    SweepSpec: ("model", "methods", "preset", "patterns", "sparsities"),
}


def command_of(spec: Spec, out: str | None = None) -> str:
    """The `sap` command that does what ``spec`` says; fields at their default are left out, the telling ones kept."""
    words = ["sap", COMMANDS[type(spec)]]
    out = getattr(spec, "out", out)
    for name, value in _told(spec):
        option = OPTIONS.get(name, "--" + name.replace("_", "-"))
        if name == "causal":
            words.append("--causal" if value else "--bidirectional")
        elif isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        elif name == "heads":
            words.append(f"{option} {','.join(f'{layer}.{head}' for layer, head in value)}")
        elif isinstance(value, (tuple, list)):
            words += [f"{option} {shlex.quote(str(item))}" for item in value]
        else:
            words.append(f"{option} {shlex.quote(_short(value))}")
    if out is not None:
        words.append(f"--out {shlex.quote(out)}")
    return _wrapped(words)


def python_of(spec: Spec, out: str | None = None) -> str:
    """The Python lines that do what ``spec`` says."""
    fields = dict(_told(spec))
    if isinstance(spec, CaptureSpec):
        model = fields.pop("model")
        loading = {
            key: fields.pop(key) for key in ("dtype", "device", "trust_remote_code", *CONVENTIONS) if key in fields
        }
        if len(spec.prompts) == 1:
            fields = {"prompt": fields.pop("prompts", spec.prompts)[0], **fields}
        lines = [f"model = {_call('sap.load_model', [model], loading)}"]
        call = _call("sap.capture", [], fields | ({"out": out} if out else {}), first="model")
        lines += [f"run = {call}", 'run.trajectory["received"]  # dims step, layer, head, position']
    elif isinstance(spec, PruneCheckpointSpec):
        model = fields.pop("model")
        lines = [f"done = {_call('sap.prune_checkpoint', [model, spec.out], fields)}", "done.plan.per_layer()"]
    elif isinstance(spec, PruneSpec):
        model = fields.pop("model")
        lines = [f"pruned = {_call('sap.prune', [model], fields)}", "pruned.plan.per_layer()"]
        if out:
            lines.append(f"sap.export_checkpoint(pruned, {out!r})")
    else:
        model = fields.pop("model")
        lines = [_call("sap.evaluate", [model], fields)]
    return "\n".join(["import sap_core as sap", "", *lines])


def exporting(export: ExportSpec) -> tuple[str, str]:
    """The two texts for writing the checkpoint of a prune run."""
    words = ["sap", "export", shlex.quote(export.run), f"--out {shlex.quote(export.out)}"]
    words += ["--overwrite"] * export.overwrite + ["--no-verify"] * (not export.verify)
    extra = (", overwrite=True" if export.overwrite else "") + ("" if export.verify else ", verify=False")
    python = [
        "from sap_core.export.from_run import export_run",
        "",
        f"export_run({export.run!r}, {export.out!r}{extra})",
    ]
    return _wrapped(words), "\n".join(python)


def elastic(spec: ElasticSpec) -> tuple[str, str]:
    """The two texts for an elastic checkpoint, and how a part of it is loaded."""
    fields = dict(_told(spec))
    words = ["sap", "elastic", *(f"--{name.replace('_', '-')} {shlex.quote(_short(fields[name]))}" for name in fields)]
    words.append(f"--out {shlex.quote(spec.out)}")
    model = fields.pop("model")
    call = _call("sap.export_elastic", [model, spec.out], fields)
    smaller = f"smaller = sap.load_model({spec.out!r}, keep=0.7)"
    return _wrapped(words), "\n".join(["import sap_core as sap", "", call, smaller])


def pushing(spec: PushSpec) -> tuple[str, str]:
    """The two texts for a push; neither has a token."""
    words = ["sap", "push", shlex.quote(spec.folder), shlex.quote(spec.repo), *["--private"] * spec.private]
    words += [f"--revision {shlex.quote(spec.revision)}"] * (spec.revision is not None)
    extra = {"private": True} if spec.private else {}
    extra |= {"revision": spec.revision} if spec.revision else {}
    call = _call("sap.push_checkpoint", [spec.folder, spec.repo], extra)
    return _wrapped(words), "\n".join(["import sap_core as sap", "", call])


def sweeping(spec: SweepSpec) -> tuple[str, str]:
    """The two texts for a sweep; lists go to the command line with commas."""
    words, fields = ["sap", "sweep"], dict(_told(spec))
    for name, value in fields.items():
        option = "--" + name.replace("_", "-")
        if name == "causal":
            words.append("--causal" if value else "--bidirectional")
        elif isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            several = isinstance(value, tuple)
            words.append(f"{option} {shlex.quote(','.join(map(_short, value)) if several else _short(value))}")
    call = _call("sweep", [], fields)
    return _wrapped(words), "\n".join(["from sap_core.sweeps import sweep", "", f"done = {call}", "done.table"])


def reading(
    command: str, run: str, python: str, *, options: dict[str, Any] | None = None, more: Iterable[str] = ()
) -> tuple[str, str]:
    """The two texts for looking at a run: ``sap COMMAND RUN`` and ``python`` applied to the opened run."""
    words = ["sap", command, shlex.quote(run), *(shlex.quote(item) for item in more)]
    words += [f"--{name} {shlex.quote(_short(value))}" for name, value in (options or {}).items() if value is not None]
    return " ".join(words), "\n".join(["import sap_core as sap", "", f"run = sap.open_run({run!r})", python])


def taking(run: str, options: dict[str, Any]) -> tuple[str, str]:
    """The two texts for the heatmap and the report of a run; ``options`` are those of `sap figure`, None left out."""
    told = {name: value for name, value in options.items() if value is not None}
    shown = [f"--{name} {shlex.quote(_short(value))}" for name, value in told.items()]
    command = _wrapped(["sap figure", shlex.quote(run), *shown, "--out heatmap.html"])
    sample, layer, head = (options.get(name) for name in ("sample", "layer", "head"))
    lines = [
        "from sap_core.plots import make_view, provenance, save_figure, trajectory_heatmap",
        "",
        f"view = make_view(run.trajectories[{sample or 0}], layer={layer}, head={head})",
        f"figure = trajectory_heatmap(view, step={options.get('step')})",
        'save_figure(figure, "heatmap.html", provenance("Attention received", [run]), view)',
    ]
    return command, "\n".join(lines)


def comparing(runs: Sequence[str], rule: SinkRule) -> tuple[str, str]:
    """The two texts for comparing two or more runs."""
    command = _wrapped(["sap compare", *(shlex.quote(run) for run in runs), f"--rule {rule.name}"])
    opened = ", ".join(repr(run) for run in runs)
    lines = [
        f"runs = [sap.open_run(run) for run in ({opened})]",
        f"found = sap.compare_runs(*runs, rule={rule.name!r})",
    ]
    return command, "\n".join(["import sap_core as sap", "", *lines, "found.table"])


def _told(spec: Spec) -> list[tuple[str, Any]]:
    """(field, value) of what differs from the defaults or belongs into every command, in the spec's order."""
    always, told = ALWAYS[type(spec)], []
    own = [name for name in type(spec).model_fields if name not in ("kind", "run", "out")]
    if isinstance(spec, PruneSpec):
        own.append("run")
    first = [name for name in always if name in own]
    for name in first + [name for name in own if name not in first]:
        value, default = getattr(spec, name), type(spec).model_fields[name].default
        if value is not None and (name in always or value != default):
            told.append((name, value))
    return told


def _call(function: str, positional: list[Any], keywords: dict[str, Any], first: str = "") -> str:
    parts = [*([first] if first else []), *(repr(value) for value in positional)]
    parts += [f"{name}={list(value) if isinstance(value, tuple) else value!r}" for name, value in keywords.items()]
    line = f"{function}({', '.join(parts)})"
    if len(line) <= 88:
        return line
    return f"{function}(\n    " + ",\n    ".join(parts) + ",\n)"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(words: list[str]) -> str:
    """One option a line as soon as the command gets long."""
    line = " ".join(words)
    if len(line) <= 88:
        return line
    head = [word for word in words if not word.startswith("--")]
    return " \\\n  ".join([" ".join(head), *(word for word in words if word.startswith("--"))])
