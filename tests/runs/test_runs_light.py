"""Pages open runs in a process without torch; importing the run store must keep it that way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_run_store_loads_neither_torch_nor_xarray():
    code = (
        "import sys; from sap_core.runs import archive, listing, meta, publish, reading, store; "
        "print('torch' in sys.modules, 'xarray' in sys.modules)"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=Path(__file__).parents[2])
    assert told.split() == ["False", "False"]
