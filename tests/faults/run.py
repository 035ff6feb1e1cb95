"""Tries the faults and writes the table in docs/reliability.md: ``python tests/faults/run.py [--part N] [--kills N]``.

``--part N`` tries every N-th case; ``--json`` prints one line each instead of writing the table.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- tried and held: begin -->", "<!-- tried and held: end -->"
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]


def main() -> int:
    """Try the faults; the exit status is 1 where one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", default="", help="names that hold this")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    tried: Counter[str] = Counter()
    held: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as home:
        for kind, name, wrong in results(Path(home), asked.part, asked.kills, asked.only):
            tried[kind] += 1
            held[kind] += not wrong
            if asked.json:
                print(json.dumps({"kind": kind, "name": name, "wrong": wrong}), flush=True)
            elif wrong:
                print(f"{name.encode('ascii', 'backslashreplace').decode()}: {'; '.join(wrong)}", flush=True)
    if not asked.json and not asked.only:
        write_table(tried, held, asked.part)
    print(f"tried {sum(tried.values())}, held {sum(held.values())}", file=sys.stderr)
    return 0 if tried == held else 1


def results(home: Path, part: int, kill_count: int, only: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """(kind, name, what is wrong) of every ``part``-th case, then of the kills."""
    base, run = warm(home)
    from archive_cases import archive_cases
    from fork_runner import judge
    from input_cases import input_cases
    from kills import kills
    from model_cases import model_cases

    for number, case in enumerate([*model_cases(base), *input_cases(base, run), *archive_cases(run)]):
        if number % part == 0 and only in case.name:
            yield case.kind, f"{number} {case.name}", judge(case, home)
    if not only:
        for name, wrong in kills(base, run, home, kill_count):
            yield "SIGKILL", name, wrong


def warm(home: Path) -> tuple[Path, Path]:
    """Import everything once, and make the sound model and the sound run that are spoilt; their folders."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HOME": str(home),
    }
    warnings.simplefilter("ignore")
    import torch
    import transformers
    from tiny_models import save_tiny_llama

    torch.set_num_threads(1)
    import sap_core
    from sap_core.errors import SapError

    for name in sap_core.__all__:
        getattr(sap_core, name)
    _ = transformers.LlamaForCausalLM, transformers.PreTrainedTokenizerFast, transformers.AutoConfig
    import streamlit.testing.v1  # noqa: F401

    for module in pkgutil.walk_packages(sap_core.__path__, "sap_core."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError, SapError):  # its optional package is not installed
                importlib.import_module(module.name)
    base = save_tiny_llama(home / "base", causal=False)
    from fork_runner import _command, in_child

    # A collection in a child would write to every object, so that the whole memory would be copied for each child.
    gc.collect()
    gc.freeze()
    words = ["capture", "--model", str(base), "--length", 12, "--steps", 3, "--out", str(home / "run")]
    ended = in_child(lambda: _command(words), home)
    assert ended.code == 0, ended.error
    return base, home / "run"


def write_table(tried: Counter[str], held: Counter[str], part: int) -> None:
    """Put the counts of every ``part``-th case between the two marks of the page."""
    which = "Every case." if part == 1 else f"Every case whose number {part} divides."
    rows = [f"| {kind} | {tried[kind]} | {held[kind]} |" for kind in tried]
    total = f"| **all** | **{sum(tried.values())}** | **{sum(held.values())}** |"
    table = "\n".join([which, "", "| kind of fault | tried | held |", "|---|---|---|", *rows, total])
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
