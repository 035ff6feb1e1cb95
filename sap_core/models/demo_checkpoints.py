"""Location of the demo models."""

from __future__ import annotations

from pathlib import Path

from sap_core.errors import ModelProblem, UnknownOption

#: name -> what it is
MODELS = {
    "stories-diffusion": "masked diffusion, from the autoregressive weights",
    "stories-ar": "autoregressive, causal",
}
_HERE = Path(__file__).resolve().parent


def checkpoint_path(name: str) -> Path:
    """Return the folder of a demo model: inside the installed package, or in `assets/demo` of a checkout."""
    if name not in MODELS:
        raise UnknownOption("demo model", name, MODELS)
    paths = (_HERE / "checkpoints" / name, _HERE.parents[1] / "assets" / "demo" / name)
    for path in paths:
        if (path / "config.json").is_file():
            return path
    raise ModelProblem(
        f"the demo model '{name}' was not found in {paths[0].parent} or {paths[1].parent}: "
        "reinstall the package, or make it with `sap demo train`"
    )
