"""What the package uses of others that has no public name: each in one file, and there in the installed version.

When a test here fails after an update, its row says what broke and where to look.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import typer

from sap_core import cli
from sap_core.errors import OperationFailed, SapError
from sap_core.file_locks import check_platform, try_lock
from sap_core.ui.widgets import streamlit_internals

ROOT = Path(__file__).parent.parent
#: module or attribute -> (distribution, version it was last seen in, the one file that uses it, what breaks without it)
PRIVATE = {
    "streamlit.runtime": (
        "streamlit",
        "1.67",
        "ui/widgets/streamlit_internals.py",
        "the first visitor of a fresh server who comes by a deep link sees the page without its navigation",
    ),
    "xarray.core.indexing": (
        "xarray",
        "2026.9",
        "trajectory/lazy_arrays.py",
        "runs stored as float16 or uint8 do not open",
    ),
    "torch.utils._python_dispatch": (
        "torch",
        "2.13",
        "attention/log_sum_exp.py",
        "the fused kernels compute each row's log-sum-exp once more: slower, same numbers",
    ),
    "_denoising_step": (
        "transformers",
        "5.23",
        "samplers/observed.py",
        "DiffusionGemma can't be captured, and says so",
    ),
}


def private_uses(source: str) -> set[str]:
    """What a file imports or reads of other packages under a private name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr in ("_denoising_step", "_global_mapping"):
            names = [node.attr]
        for name in names:
            if name.split(".")[0] in sys.stdlib_module_names | {"sap_core"}:
                continue
            known = next((key for key in PRIVATE if name == key or name.startswith(f"{key}.")), None)
            private = any(re.match("_[^_]", part) for part in name.split(".")) or name.startswith("xarray.core")
            if known or private:
                found.add(known or name)
    return found


def test_each_is_used_in_one_file():
    package = ROOT / "sap_core"
    sources = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*.py")}
    assert len(sources) > 200
    uses = {file: found for file, source in sources.items() if (found := private_uses(source))}
    assert uses == {file: {name} for name, (_, _, file, _) in PRIVATE.items()}
    assert not any(private_uses(path.read_text()) for path in (ROOT / "pages").glob("*.py"))


@pytest.mark.parametrize(
    "line",
    [
        "from streamlit.runtime.scriptrunner import get_script_run_ctx",
        "import xarray.core.indexing",
        "from transformers.utils._new import thing",
        "mask = AttentionMaskInterface._global_mapping['sdpa']",
    ],
)
def test_the_check_can_fail(line):
    assert private_uses(line)


@pytest.mark.parametrize("name", [name for name in PRIVATE if "." in name])
def test_the_module_is_there(name):
    package, seen, file, breaks = PRIVATE[name]
    try:
        import_module(name)
    except ImportError:
        pytest.fail(f"{name} was last seen in {package} {seen}; {version(package)} lacks it. See {file}: {breaks}.")


def test_streamlit_tells_a_page_that_runs_alone(monkeypatch):
    from streamlit.runtime import pages_manager

    class Context:
        main_script_path = "/somewhere/app.py"

    assert hasattr(pages_manager.PagesManager, "uses_pages_directory")
    assert streamlit_internals.page_runs_without_app() is False  # no script is running
    monkeypatch.setattr("streamlit.runtime.scriptrunner.get_script_run_ctx", Context)
    for discovers in (True, False):
        monkeypatch.setattr(pages_manager.PagesManager, "uses_pages_directory", discovers)
        assert streamlit_internals.page_runs_without_app() is discovers
        assert streamlit_internals.page_runs_without_app("other.py") is False


def test_without_streamlits_internals_pages_still_draw(monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit.runtime.pages_manager", None)
    assert streamlit_internals.page_runs_without_app() is False


def test_torch_hands_over_the_log_sum_exp():
    from sap_core.attention.log_sum_exp import keeping_log_sum_exp

    query = torch.randn(1, 2, 16, 8, generator=torch.Generator().manual_seed(0))
    with keeping_log_sum_exp() as kept, torch.no_grad():
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    expected = torch.logsumexp(query @ query.mT / 8**0.5, -1)
    assert torch.allclose(kept.of(query), expected, atol=1e-5)


@pytest.mark.slow
def test_without_torchs_internals_nothing_is_kept():
    code = """
import torch, torch.utils._python_dispatch
del torch.utils._python_dispatch.TorchDispatchMode
from sap_core.attention.log_sum_exp import keeping_log_sum_exp
x = torch.randn(1, 1, 4, 8)
with keeping_log_sum_exp() as kept:
    torch.nn.functional.scaled_dot_product_attention(x, x, x)
print(kept.of(x))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_transformers_masks_are_found_by_name():
    from transformers import AttentionMaskInterface

    assert all(callable(AttentionMaskInterface()[base]) for base in ("sdpa", "eager"))


def test_diffusion_gemma_makes_its_steps_in_one_method():
    from transformers.models import diffusion_gemma

    name = next(name for name in dir(diffusion_gemma) if name.endswith("ForBlockDiffusion"))
    _, seen, file, breaks = PRIVATE["_denoising_step"]
    assert hasattr(getattr(diffusion_gemma, name), "_denoising_step"), f"last seen in {seen}; {file}: {breaks}"


def test_a_model_without_the_step_is_refused():
    from sap_core.samplers.observed import _observed_steps

    with pytest.raises(OperationFailed, match=r"Linear of transformers .* has no method _denoising_step"):
        with _observed_steps(torch.nn.Linear(1, 1), lambda step, given: ()):
            pass


def test_typer_has_one_error_for_wrong_use():
    error = typer.BadParameter("a port is a number")
    assert isinstance(error, cli.UsageError) and "a port" in error.format_message() and hasattr(error, "ctx")
    assert not issubclass(cli.UsageError, (typer.Exit, typer.Abort))


def test_windows_is_refused_in_one_line(monkeypatch, capsys):
    check_platform("linux")
    with pytest.raises(SapError, match="Windows is not supported"):
        check_platform("win32")
    monkeypatch.setattr(cli, "check_platform", lambda: check_platform("win32"))
    assert cli.main(["models"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and "WSL" in shown.err


def test_nothing_of_windows_stops_the_import():
    code = (
        "import sys, psutil, pydantic.main; sys.platform = 'win32'; sys.modules['fcntl'] = None; "
        "import sap_core.jobs.layout"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_locks_exclude_each_other(tmp_path):
    def opened():
        return open(tmp_path / "lock", "ab")

    with opened() as one, opened() as two:
        assert try_lock(one, shared=True) and try_lock(two, shared=True)
        with opened() as third:
            assert not try_lock(third)
    with opened() as one, opened() as two:
        assert try_lock(one) and not try_lock(two, shared=True)


def test_a_warning_is_shown_as_one_line_and_only_while_a_command_runs(monkeypatch, capsys):
    before = warnings.showwarning, list(warnings.filters)

    def warn(**_):
        warnings.warn("the kernels\n don't work", stacklevel=2)

    monkeypatch.setattr(cli, "app", warn)
    assert cli.main([]) == 0
    assert capsys.readouterr().err == "sap: warning: the kernels don't work\n"
    assert (warnings.showwarning, list(warnings.filters)) == before
