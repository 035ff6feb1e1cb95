"""Many prunings or captures of one model, measured alike: a grid of cells, a resumable folder, a table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
