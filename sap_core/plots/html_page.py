"""Self-contained HTML pages: figures, tables and provenance in one file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #18212b; background: #fff; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { border-bottom: 1px solid #d5dbe2; padding: 4px 12px 4px 0; text-align: left } pre { white-space: pre-wrap; background: #f3f5f7; padding: 10px }
p.note { color: #4a5563 }
"""  # noqa: E501

Part = go.Figure | pd.DataFrame | str


def html_report(title: str, about: dict[str, Any], parts: Iterable[tuple[str, str, Part]]) -> str:
    """Return one self-contained page.

    Args:
        title: Of the page.
        about: Provenance (run, settings, versions); shown at the end and readable as JSON.
        parts: (heading, note, content); content is a figure, a table, or plain text. All text is escaped.
    """
    body, with_library = [], True
    for heading, note, content in parts:
        body.append(f"<section><h2>{escape(heading)}</h2>")
        if note:
            body.append(f'<p class="note">{escape(note)}</p>')
        if isinstance(content, str):
            body.append(f"<pre>{escape(content)}</pre>")
        elif isinstance(content, go.Figure):
            body.append(content.to_html(include_plotlyjs=with_library, full_html=False, config={"displaylogo": False}))
            with_library = False
        else:
            body.append(content.to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}"))
        body.append("</section>")
    provenance = json.dumps(about, indent=1, ensure_ascii=False, default=str)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(body)}"
        f"<h2>Where this comes from</h2><pre>{escape(provenance)}</pre></body></html>"
    )
