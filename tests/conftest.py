"""What all tests share: the golden outputs and the tiny models, made once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from tiny_models import GOLDEN, save_tiny_llama

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sap-tests-")  # what a test leaves is no user's


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
