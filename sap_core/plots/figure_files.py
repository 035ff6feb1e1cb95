"""Figures as files that state their provenance, and their data as tables.

The provenance (runs, settings, version) is written into every file: as `<metadata>` in SVG, as a text chunk in PNG, as
JSON in HTML, as a column in CSV (see `csv_files`), and in the metadata of Parquet.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .._version import __version__
from ..csv_files import csv_bytes, read_csv
from ..errors import InvalidInput, OperationFailed
from ..storage import disk_problem
from ..storage.output import Output
from .print_version import SIZES, PrintSize, print_version
from .view import View

FORMATS = ("html", "png", "svg", "csv", "parquet")
CHUNK = b"Description"


def save_figure(
    figure: go.Figure,
    path: str | Path | Output,
    about: dict[str, Any],
    data: View | pd.DataFrame | None = None,
    size: PrintSize = SIZES["screen"],
) -> Path:
    """Write a figure, or its data, in the format that the suffix of ``path`` names, one of `FORMATS`.

    A file that is there is replaced in one step; one that appears meanwhile is not.

    Args:
        figure: The figure.
        path: The file, or what `figure_output` reserved.
        about: From `provenance`.
        data: Content of CSV and Parquet; default: what is drawn.
        size: From `print_size`; of HTML, PNG and SVG.

    Raises:
        InvalidInput: another suffix.
        OperationFailed: PNG or SVG without kaleido or Chrome (`pip install 'sap-studio[figures]'`); a full disk.
    """
    with figure_output(path) as output:
        kind = output.target.suffix.lstrip(".").lower()
        if kind in ("csv", "parquet"):
            table = table_of(figure, data)
            content = csv_bytes(table, about) if kind == "csv" else parquet_bytes(table, about)
        elif kind == "html":
            content = figure_html(figure, about, size).encode()
        else:
            content = _image(printed(figure, about, size), kind, size)
            content = (
                png_with_origin(content, about) if kind == "png" else svg_with_origin(content.decode(), about).encode()
            )
        return write_output(output, content)


def figure_output(path: str | Path | Output, formats: Sequence[str] = FORMATS) -> AbstractContextManager[Output]:
    """Reserve the file of a figure, or return one that is reserved already.

    Raises:
        InvalidInput: a suffix that is none of ``formats``, a folder, or a path that can't be written.
    """
    if isinstance(path, Output):
        return nullcontext(path)
    ending = Path(path).suffix
    if ending.lstrip(".").lower() not in formats:
        raise InvalidInput(f"Figure file {path} ends in {ending or 'nothing'}; expected one of {', '.join(formats)}.")
    return Output(path, folder=False, replace=True)


def write_output(output: Output, content: bytes) -> Path:
    """Write a reserved file.

    Raises:
        OperationFailed: the disk is full, or something else appeared at its path.
    """
    try:
        output.part.write_bytes(content)
    except OSError as error:
        raise disk_problem(error, output.target) from error
    return output.publish()


def provenance(title: str, runs: Iterable[Any], view: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the provenance of a figure: the runs with their settings, the view, and this package's version."""
    return {
        "title": title,
        "runs": [
            {
                "id": run.id,
                "name": run.name,
                "settings": run.spec,
                "versions": (run.manifest or {}).get("versions", {}),
                **({"partial": run.partial} if run.partial else {}),
            }
            for run in runs
        ],
        "view": view or {},
        "made with": f"sap-studio {__version__}",
    }


def origin_line(about: dict[str, Any]) -> str:
    """Return the provenance in one line, for the bottom of a picture."""
    runs = ", ".join(f"{run['id']} ({run['partial']})" if "partial" in run else run["id"] for run in about["runs"])
    view = ", ".join(f"{key} {value}" for key, value in about["view"].items() if key not in ("run", "a", "b", "more"))
    return " · ".join(part for part in (f"run {runs}" if runs else "", view, about["made with"]) if part)


def table_of(figure: go.Figure, data: View | pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the data behind a figure, one row per value."""
    if isinstance(data, pd.DataFrame):
        return data
    return view_table(data) if isinstance(data, View) else figure_table(figure)


def view_table(view: View) -> pd.DataFrame:
    """Return one row per step and position: attention (fraction), in multiples of an even share, token, state."""
    frame = (
        pd.DataFrame(view.share).rename_axis(index="step", columns="position").stack().rename("attention").reset_index()
    )
    frame["times_even"] = view.times_even.ravel()
    if view.sink_rate is not None:
        frame["sink_rate"] = view.sink_rate.ravel()
    frame["token"] = view.tokens.ravel()
    frame["masked"] = view.masked.ravel()
    frame["written_now"] = view.accepted.ravel()
    frame["sink"] = view.sinks.ravel()
    frame["text"] = [view.piece(step, position) for step in range(view.steps) for position in range(view.positions)]
    return frame


def read_table(path: str | Path) -> pd.DataFrame:
    """Return the data in a CSV or Parquet file of this package; ``.attrs`` is its provenance."""
    kind = Path(path).suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise InvalidInput(f"Table {path} ends in {kind or 'nothing'}; expected .csv or .parquet.")
    return read_csv(path) if kind == ".csv" else pd.read_parquet(path)


def figure_table(figure: go.Figure) -> pd.DataFrame:
    """Return the values a figure draws, one per row: series, x, y, and for maps the value (as the hover shows it)."""
    parts = []
    for number, trace in enumerate(figure.data):
        name = trace.name or f"trace {number}"
        if trace.type == "heatmap":
            shown = np.asarray(trace.z if trace.customdata is None else trace.customdata)
            rows, columns = shown.shape[:2]
            x = np.arange(columns) if trace.x is None else np.asarray(trace.x)
            y = np.arange(rows) if trace.y is None else np.asarray(trace.y)
            frame = pd.DataFrame({"x": np.tile(x, rows), "y": np.repeat(y, columns)})
            frame["value"] = shown.reshape(rows * columns, -1)[:, 0]
        elif trace.hoverinfo == "skip" or trace.x is None or trace.y is None:
            continue
        else:
            frame = pd.DataFrame({"x": list(trace.x), "y": list(trace.y)})
        parts.append(frame.assign(series=name))
    if not parts:
        return pd.DataFrame(columns=["series", "x", "y"])
    whole = pd.concat([part.astype({axis: object for axis in ("x", "y")}) for part in parts], ignore_index=True)
    whole[["x", "y"]] = whole[["x", "y"]].infer_objects()
    for axis in ("x", "y"):  # a column of words and numbers can't be written as Parquet
        if whole[axis].dtype == object:
            whole[axis] = whole[axis].astype(str)
    return whole[["series", "x", "y", *(["value"] if "value" in whole else [])]]


def printed(figure: go.Figure, about: dict[str, Any], size: PrintSize = SIZES["screen"]) -> go.Figure:
    """Return the figure in print, with title and provenance on it."""
    return print_version(figure, about["title"], origin_line(about), size)


def figure_html(figure: go.Figure, about: dict[str, Any], size: PrintSize = SIZES["screen"]) -> str:
    """Return one self-contained page, with the provenance as text and as JSON."""
    page = printed(figure, about, size).to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False})
    document = json.dumps(about, default=str).replace("<", "\\u003c")
    return page.replace("<body>", f'<body><script type="application/json" id="provenance">{document}</script>', 1)


def parquet_bytes(table: pd.DataFrame, about: dict[str, Any]) -> bytes:
    """Return Parquet; ``pandas.read_parquet(path).attrs`` is the provenance."""
    frame = table.copy()
    frame.attrs = json.loads(json.dumps(about, default=str))
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def svg_with_origin(svg: str, about: dict[str, Any]) -> str:
    """Return the picture with the provenance as its ``<metadata>``."""
    start = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:start]}<metadata>{escape(json.dumps(about, default=str))}</metadata>{svg[start:]}"


def png_with_origin(png: bytes, about: dict[str, Any]) -> bytes:
    """Return the picture with the provenance in an international text chunk, keyword Description.

    PNG 1.2, section 4.2.3.
    """
    text = CHUNK + b"\0\0\0\0\0" + json.dumps(about, default=str, ensure_ascii=False).encode()
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text + struct.pack(">I", zlib.crc32(b"iTXt" + text))
    end = png.rindex(b"IEND") - 4
    return png[:end] + chunk + png[end:]


def _image(figure: go.Figure, kind: str, size: PrintSize) -> bytes:
    try:
        return figure.to_image(format=kind, scale=size.png_scale if kind == "png" else 1)
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        raise OperationFailed(
            f"{kind.upper()} on the command line needs kaleido and Chrome (pip install 'sap-studio[figures]'), or use "
            f"the studio's own button: {reason[:160]}."
        ) from error
