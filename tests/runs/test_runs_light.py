"""Pages open runs in a process without torch; importing this room must keep it that way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sap_core.runs


def test_no_torch_is_imported_by_the_run_store():
    names = ", ".join(sap_core.runs.__all__)
    code = f"from sap_core.runs import {names}; import sys; print('torch' in sys.modules, 'xarray' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=Path(__file__).parents[2]).split() == [
        "False",
        "False",
    ]
