"""Record the runs that come with the package: each demo model writing one story, stored in float16.

    PYTHONPATH=tools python -m demo_training.record

replaces `assets/runs`. Start shows them until somebody runs the demo, which makes the same captures.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import sap_core as sap
from sap_core.specs.demo import demo_specs

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Record each run aside, then put it in the place of the old one."""
    home = ROOT / "assets" / "runs"
    home.mkdir(parents=True, exist_ok=True)
    for spec in demo_specs():
        target = home / spec.model.removeprefix("demo:")
        aside = home / ".new" / target.name  # a run keeps the name of the folder that it was made in
        shutil.rmtree(aside.parent, ignore_errors=True)
        run = sap.capture(spec.model, spec=spec.model_copy(update={"precision": "float16"}), out=aside)
        print(f"{spec.model}: {run.text}")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
        aside.parent.rmdir()


if __name__ == "__main__":
    main()
