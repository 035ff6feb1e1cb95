"""The command line and Python snippets of an action. Pure functions of the spec; no Streamlit.

Options come from the spec's fields, as those of the command line do; a test runs every snippet.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...choices.sink_rules import SinkRule
from ...specs import (
    AblateHeadsSpec,
    AblateSinksSpec,
    CaptureSpec,
    ElasticSpec,
    EvaluateSpec,
    ExportSpec,
    HealSpec,
    ModelOptions,
    ProgressivePruneSpec,
    PruneCheckpointSpec,
    PruneSpec,
    PushSpec,
    SearchPruneSpec,
    Spec,
    SweepSpec,
)
from ...specs.options import HIDDEN, is_list, option_flags, to_text

IMPORT = ["import sap_core as sap", ""]


@dataclass(frozen=True)
class Action:
    """How a spec is carried out: by a command, and by a function.

    Attributes:
        arguments: Fields that are positional in the command.
        positional: Fields that are positional in the call.
        always: Fields that are shown even at their defaults.
        result: Name of the call's result.
        then: What is shown of it.
    """

    command: str
    function: str
    arguments: tuple[str, ...] = ()
    positional: tuple[str, ...] = ("model",)
    always: tuple[str, ...] = ("model",)
    result: str = ""
    then: str = ""


_TEXTS = ("calibration", "samples", "seed")
_SIZE = ("model", "method", "sparsity", "pattern", *_TEXTS)
_PLAN = "pruned.plan.per_layer()"
ACTIONS: dict[type[Spec], Action] = {
    CaptureSpec: Action("capture", "sap.capture", always=("model", "prompts", "length", "steps", "sampler", "seed")),
    PruneSpec: Action("prune", "sap.prune", always=_SIZE, result="pruned", then=_PLAN),
    ProgressivePruneSpec: Action("prune", "sap.prune", always=_SIZE, result="pruned", then=_PLAN),
    SearchPruneSpec: Action("prune", "sap.prune", always=("model", "method", *_TEXTS), result="pruned", then=_PLAN),
    PruneCheckpointSpec: Action(
        "prune --streamed", "sap.prune_checkpoint", positional=("model", "out"), always=_SIZE, result="done",
        then="done.plan.per_layer()",
    ),
    EvaluateSpec: Action("evaluate", "sap.evaluate", always=("model", "baseline"), result="measured"),
    ExportSpec: Action(
        "export", "sap.export_run", arguments=("run",), positional=("run", "out"), always=("run",), result="report"
    ),
    AblateSinksSpec: Action(
        "ablate sinks", "sap.ablate_sinks", always=("model", "top"), result="run", then="run.result"
    ),
    AblateHeadsSpec: Action("ablate heads", "sap.ablate_heads", result="run", then="run.result[\"agreement\"]"),
    HealSpec: Action(
        "heal", "sap.heal", arguments=("model",), positional=("model", "teacher"), always=("model", "teacher", "steps"),
        result="healed", then="healed.quality",
    ),
    ElasticSpec: Action(
        "elastic", "sap.export_elastic", positional=("model", "out"), always=("model", "method", "seed"),
        result="report", then="smaller = sap.load_model({out!r}, keep=0.7)",
    ),
    PushSpec: Action(
        "push", "sap.push_checkpoint", arguments=("folder", "repo"), positional=("folder", "repo"),
        always=("folder", "repo"), result="report",
    ),
    SweepSpec: Action(
        "sweep", "sweep", positional=(), always=("model", "methods", "preset", "patterns", "sparsities"), result="done",
        then="done.table",
    ),
}  # fmt: skip


def snippets_of(spec: Spec, out: str | None = None, code_out: str | None = None) -> tuple[str, str]:
    """Return the command and the Python lines of ``spec``.

    ``out``: where the command writes, for a spec without such a field; ``code_out``: where the Python lines do.
    """
    return command_of(spec, out), python_of(spec, code_out)


def command_of(spec: Spec, out: str | None = None) -> str:
    """Return the `sap` command of ``spec``, without fields at their default unless they are always shown."""
    action = ACTIONS[type(spec)]
    argv = ["sap", action.command, *(shlex.quote(getattr(spec, name)) for name in action.arguments)]
    for name, value in _told(spec):
        field = type(spec).model_fields[name]
        yes, no = option_flags(name, field)
        if name in (*action.arguments, "out"):
            continue
        if isinstance(value, bool):
            argv.append(yes if value else no)
        elif name == "prompts":
            argv += [f"{yes} {shlex.quote(item)}" for item in value]
        elif not is_list(field) or value:
            argv.append(f"{yes} {shlex.quote(to_text(value))}")
    out = getattr(spec, "out", out)
    if out is not None:
        argv.append(f"--out {shlex.quote(out)}")
    return _wrapped(argv)


def python_of(spec: Spec, out: str | None = None) -> str:
    """Return the Python lines of ``spec``."""
    action, fields = ACTIONS[type(spec)], dict(_told(spec))
    if isinstance(spec, CaptureSpec):
        return _capturing(spec, fields, out)
    positional = [getattr(spec, name) for name in action.positional]
    fields = {name: value for name, value in fields.items() if name not in action.positional}
    call = _call(action.function, positional, fields)
    then = action.then.format(out=getattr(spec, "out", None))
    lines = [f"{action.result} = {call}", *([then] if then else [])]
    if out is not None and action.function == "sap.prune":
        lines.append(f"sap.export_checkpoint(pruned, {out!r})")
    start = ["from sap_core.sweeps import sweep", ""] if isinstance(spec, SweepSpec) else IMPORT
    return "\n".join([*start, *lines])


def _capturing(spec: CaptureSpec, fields: dict[str, Any], out: str | None) -> str:
    """Return the Python lines of a capture; the model is loaded first, so that other prompts can follow."""
    model = fields.pop("model")
    loading = {name: fields.pop(name) for name in (*ModelOptions.model_fields, "keep") if name in fields}
    if len(spec.prompts) == 1:
        fields = {"prompt": fields.pop("prompts", spec.prompts)[0], **fields}
    call = _call("sap.capture", [], fields | ({"out": out} if out else {}), first="model")
    lines = [f"model = {_call('sap.load_model', [model], loading)}", f"run = {call}"]
    return "\n".join([*IMPORT, *lines, 'run.trajectory["received"]  # dims step, layer, head, position'])


def reading(
    command: str, run: str, python: str, *, options: dict[str, Any] | None = None, more: Iterable[str] = ()
) -> tuple[str, str]:
    """Return the snippets for looking at a run: ``sap COMMAND RUN``, and ``python`` applied to the opened run."""
    argv = ["sap", command, shlex.quote(run), *(shlex.quote(item) for item in more)]
    argv += [f"--{name} {shlex.quote(to_text(value))}" for name, value in (options or {}).items() if value is not None]
    return " ".join(argv), "\n".join([*IMPORT, f"run = sap.open_run({run!r})", python])


def figure(
    run: str, rule: SinkRule, *, kind: str = "heatmap", sample: int = 0, layer: int | None = None,
    head: int | None = None, step: int | None = None,
) -> tuple[str, str]:  # fmt: skip
    """Return the snippets that write the figure in view, with its sinks; the Python lines continue from ``run``.

    ``kind``: "heatmap" (over positions) or "kinds" (over kinds of token).
    """
    options = {"kind": None if kind == "heatmap" else kind, "sample": sample or None, "layer": layer, "head": head}
    options |= {"step": step, "rule": rule.name, "threshold": rule.threshold}
    shown = [f"--{name} {to_text(value)}" for name, value in options.items() if value is not None]
    draw = "trajectory_heatmap" if kind == "heatmap" else "type_heatmap"
    lines = [
        f"from sap_core.plots import make_view, provenance, save_figure, {draw}",
        "",
        f"rule = sap.SinkRule({rule.name!r}, {rule.threshold!r})",
        f"view = make_view(run.trajectories[{sample}], layer={layer}, head={head}, sinks=rule)",
        f"figure = {draw}(view, step={step})",
        'save_figure(figure, "heatmap.html", provenance("Attention received", [run]), view)',
    ]
    return _wrapped(["sap figure", shlex.quote(run), *shown, "--out heatmap.html"]), "\n".join(lines)


def comparing(runs: Sequence[str], rule: SinkRule) -> tuple[str, str]:
    """Return the snippets for comparing two or more runs."""
    command = _wrapped(["sap compare", *(shlex.quote(run) for run in runs), f"--rule {rule.name}"])
    opened = ", ".join(repr(run) for run in runs)
    lines = [
        f"runs = [sap.open_run(run) for run in ({opened})]",
        f"found = sap.compare_runs(*runs, rule={rule.name!r})",
    ]
    return command, "\n".join([*IMPORT, *lines, "found.table"])


def _told(spec: Spec) -> list[tuple[str, Any]]:
    """Return (field, value) of what differs from the defaults or is always shown, the latter first."""
    fields, always = type(spec).model_fields, ACTIONS[type(spec)].always
    order = [*always, *(name for name in fields if name not in always)]
    return [
        (name, value)
        for name in order
        if name in fields and name not in HIDDEN
        for value in [getattr(spec, name)]
        if value is not None and (name in always or value != fields[name].default)
    ]


def _call(function: str, positional: list[Any], keywords: dict[str, Any], first: str = "") -> str:
    parts = [*([first] if first else []), *(repr(value) for value in positional)]
    parts += [f"{name}={list(value) if isinstance(value, tuple) else value!r}" for name, value in keywords.items()]
    line = f"{function}({', '.join(parts)})"
    if len(line) <= 88:
        return line
    return f"{function}(\n    " + ",\n    ".join(parts) + ",\n)"


def _wrapped(argv: list[str]) -> str:
    """Return the command with one option per line if it is long."""
    line = " ".join(argv)
    if len(line) <= 88:
        return line
    head = [word for word in argv if not word.startswith("--")]
    return " \\\n  ".join([" ".join(head), *(word for word in argv if word.startswith("--"))])
