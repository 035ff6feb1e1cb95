"""Sink-Aware Pruning Studio: see attention sinks move through a denoising run, prune what is unstable, keep the result.

``__init__.pyi`` lists the public API. Each name is imported when it is first used, so that ``import sap_core`` is cheap
and parts that need no model never import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
