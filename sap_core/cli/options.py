"""Options that several commands share, so that each is described once.

An option that was not given is None and leaves the spec's own default in force; the defaults shown by ``--help`` are
compared with the specs' by a test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Model = Annotated[str, typer.Option("--model", "-m", help="demo:NAME, a folder, or a Hub id.", show_default=False)]
Dtype = Annotated[
    str | None, typer.Option(help="Precision: auto, float32, bfloat16, float16, int8, int4.", show_default="auto")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N, mps or spread.", show_default="auto")]
RemoteCode = Annotated[
    bool | None, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
]
MaskToken = Annotated[
    int | None, typer.Option(help="For diffusion models that do not declare their mask token.", show_default=False)
]
Causal = Annotated[
    bool | None,
    typer.Option(
        "--causal/--bidirectional",
        help="Attention is causal (writes left to right), or bidirectional (denoises).",
        show_default="as declared",
    ),
]
ShiftLogits = Annotated[
    bool | None,
    typer.Option(
        "--shift-logits/--no-shift-logits",
        help="Row i of a model that denoises predicts token i + 1, or token i.",
        show_default="as declared",
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(help="Tokens a block-causal model denoises at a time; 0: all.", show_default="as declared"),
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same result.", show_default="0")]
Name = Annotated[str | None, typer.Option(help="Shown in the list of runs.", show_default=False)]
Run = Annotated[str, typer.Argument(help="A run's folder, or its id.", show_default=False)]
Rule = Annotated[str, typer.Option(help="What counts as a sink: column_sum, rate or zscore.")]
Threshold = Annotated[
    float | None, typer.Option(help="The rule's threshold, in its own unit.", show_default="the rule's own")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the model folder that is there.")]
Verify = Annotated[bool, typer.Option(help="Load what was written in a fresh process and compare.")]
Calibration = Annotated[
    str | None,
    typer.Option(
        help="demo, FILE.txt, FILE.npy of int64 token ids, or dataset:NAME (Hub or folder).", show_default="demo"
    ),
]
Samples = Annotated[int | None, typer.Option(help="Calibration sequences.", show_default="64")]
CalibrationLength = Annotated[
    int | None, typer.Option(help="Tokens per calibration sequence.", show_default="the model's, at most 256")
]
CalibrationSubset = Annotated[
    str | None, typer.Option(help="dataset:NAME: its configuration, where it has some.", show_default=False)
]
CalibrationSplit = Annotated[str | None, typer.Option(help="dataset:NAME: the split.", show_default="train")]
CalibrationColumn = Annotated[str | None, typer.Option(help="dataset:NAME: the column of text.", show_default="text")]
Keep = Annotated[
    float | None,
    typer.Option(help="Elastic checkpoint: the share of its heads and channels, such as 0.7.", show_default=False),
]
NoiseLevels = Annotated[
    int | None, typer.Option(help="Levels of masking, for methods that look at masked texts.", show_default="10")
]
Workers = Annotated[
    int | None,
    typer.Option(help="Models at work at once.", show_default="one per GPU, or one; ray: as many as fit"),
]
Address = Annotated[str | None, typer.Option(help="Ray cluster: auto, local, or ray://HOST:PORT.", show_default="auto")]
GpusPerWorker = Annotated[
    float | None, typer.Option(help="Ray: may be a fraction.", show_default="1 where there are any")
]
CpusPerWorker = Annotated[float | None, typer.Option(help="Ray: cores a worker reserves.", show_default="1")]


def calibration_source(text: str | None) -> str | None:
    """A calibration source for a spec that outlives the working folder: files and local data sets as absolute paths."""
    if text in (None, "demo"):
        return text
    if text.startswith("dataset:"):
        folder = Path(text.removeprefix("dataset:")).expanduser()
        return f"dataset:{folder.absolute()}" if folder.is_dir() else text
    return absolute(text)


def given(**fields: Any) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def absolute(path: str | Path | None) -> str | None:
    """A file or folder named on the command line, for a spec that outlives the working folder."""
    return None if path is None else str(Path(path).expanduser().absolute())
