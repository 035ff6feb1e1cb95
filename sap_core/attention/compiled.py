"""Modules that went through torch.compile: the module before it, and running its own code."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


def before_compiling(module: nn.Module) -> nn.Module:
    """Return the module that torch.compile was given, if ``module`` is what it returned."""
    return getattr(module, "_orig_mod", module)


def uncompiled() -> AbstractContextManager[Any]:
    """While open, compiled functions run the code they were made from.

    Compiled code does not pass through the attention interface. If the compiler was never imported, nothing is
    compiled.
    """
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
