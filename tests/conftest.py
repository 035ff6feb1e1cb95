"""What all tests share: the golden outputs and the tiny models, made once."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook
from shape_checks import CHECKED
from tiny_models import GOLDEN, save_tiny_llama
from warm_python import warm_interpreter

# Before anything of the package is imported: from here on, calls with arrays of another shape or dtype than the
# signatures of these modules say raise an error.
install_import_hook(CHECKED, "shape_checks.checked")

_CACHE = tempfile.TemporaryDirectory(prefix="sap-tests-")  # one a worker; what a test leaves is no user's
for _name in [name for name in os.environ if name.startswith("SAP_")]:
    del os.environ[_name]  # nor do a user's own settings count in a test
os.environ["XDG_CACHE_HOME"] = _CACHE.name
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported; a worker has a core
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

BROWSER = "tests/browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is begun first, so that no worker is left alone with it: browser, then files with slow tests.

    Files stay whole and in their order otherwise.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.nodeid.startswith(BROWSER), item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """With ``-n``, the tests of a file share a worker, as they share fixtures; those in a browser share the studio."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return BROWSER if nodeid.startswith(BROWSER) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # the order of `pytest_collection_modifyitems`
    return ByFile(config, log)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Outputs of the method's public code on a tiny LLaDA-format model; see its README."""
    return GOLDEN


@pytest.fixture(scope="session")
def tiny_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny bidirectional Llama with mask token 2."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-diffusion"), causal=False)


@pytest.fixture(scope="session")
def tiny_causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny causal Llama."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-causal"), causal=True, seed=1)


@pytest.fixture(scope="session")
def quick_interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Path of an interpreter that has torch imported when it starts; one a worker."""
    with warm_interpreter(tmp_path_factory.mktemp("python")) as path:
        yield path


@pytest.fixture(scope="module")
def warm_python(quick_interpreter: str) -> Iterator[None]:
    """Fresh processes of this file's tests start from `quick_interpreter`: ``sys.executable`` is its path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", quick_interpreter)
        yield
