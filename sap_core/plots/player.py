"""The studio's player in a notebook: one HTML document that needs neither a kernel nor the network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule
from ..errors import InvalidInput
from .quantity import QUANTITIES, quantity_named, usual_quantity
from .replay import replay_data
from .run_report import checked_view

_PLAYER = Path(__file__).parents[1] / "ui" / "widgets" / "replay"  # the files that the studio serves
HEIGHT = 620  # CSS pixels
_THEME = """
:root { --st-font: system-ui, sans-serif; --st-code-font: monospace; --st-text-color: #18212b;
  --st-secondary-background-color: #f3f5f7; --st-border-color: #d5dbe2; --st-primary-color: #1b5e9e; }
body { margin: 8px; background: #ffffff; }
"""


@dataclass(frozen=True)
class Player:
    """A replay that shows itself in Jupyter, VS Code and Colab, and in an exported notebook.

    Attributes:
        page: The HTML document, with player and data.
    """

    page: str

    def _repr_html_(self) -> str:
        frame = f"width:100%;height:{HEIGHT}px;border:0"
        return f'<iframe title="Replay of the run" style="{frame}" srcdoc="{escape(self.page)}"></iframe>'

    def save(self, path: str | Path) -> Path:
        """Write the player as an HTML file that needs nothing else, and return its path."""
        from .figure_files import figure_output, write_output

        with figure_output(path, ("html",)) as output:
            return write_output(output, self.page.encode())


def replay(
    run: Any,
    *,
    layer: int | None = None,
    head: int | None = None,
    sample: int = 0,
    step: int = 0,
    quantity: str | None = None,
    fit: bool = False,
    rule: SinkRule | str = DEFAULT_RULE,
    threshold: float | None = None,
) -> Player:
    """Return the studio's player of a run, for a notebook; every control works without a kernel.

    Args:
        run: An opened run (`sap_core.open_run`).
        layer: By the model's number; None means the mean over layers.
        head: None means the mean over heads.
        sample: Prompt of the run, from 0.
        step: Step to begin with.
        quantity: What the map begins with, sink_rate or attention; default: the sink rate, of a single head attention.
        fit: The map's colours span the values in view.
        rule: What a sink is, see `sap_core.find_sinks`.
        threshold: Threshold of a rule given by name; None takes its default.

    Raises:
        UnknownOption, InvalidInput: an unknown rule or quantity; a layer, head, sample or step that the run does not
            have.
        RunProblem: a run without a trajectory.
    """
    shown = usual_quantity(layer, head) if quantity is None else quantity_named(quantity)
    view = checked_view(run, sample, layer, head, sink_rule(rule, threshold), with_sink_rate=True)
    if not 0 <= step < view.steps:
        raise InvalidInput(f"step is {step}; the run has steps 0 to {view.steps - 1}.")
    data = replay_data(view, step=step, quantity=QUANTITIES[shown.name], fit=fit)
    html, css, js = ((_PLAYER / f"replay.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    script = js.replace("export default function", "function player", 1)
    document = json.dumps({**data, "run": ""}, default=str).replace("<", "\\u003c")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Replay</title><style>{_THEME}{css}</style>'
        f'</head><body>{html}<script type="module">{script}\n'
        f"player({{ data: {document}, parentElement: document.body, setStateValue() {{}} }});</script></body></html>"
    )
    return Player(page)


def run_html(run: Any) -> str:
    """Return a finished run as HTML for a notebook: name, settings, text, and for a capture its player, folded."""
    rows = {"id": run.id, "kind": run.kind, "state": run.state, "model": run.spec.get("model", "")}
    if run.kind == "capture":
        sizes = run.trajectory.sizes
        rows["size"] = ", ".join(f"{sizes[dim]} {dim}s" for dim in ("step", "layer", "head", "position"))
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    parts = [f"<b>{escape(run.name)}</b><table>{cells}</table>"]
    if run.text:
        text = f"<pre style='white-space:pre-wrap'>{escape(run.text)}</pre>"
        parts.append(f"<details><summary>Text</summary>{text}</details>")
    if run.kind == "capture" and run.trajectory.sizes["step"]:
        parts.append(f"<details open><summary>Replay</summary>{replay(run)._repr_html_()}</details>")
    return f"<div>{''.join(parts)}</div>"
