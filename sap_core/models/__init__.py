"""Load a model from a folder or Hub id as a `LoadedModel`: inspection, families, memory estimates."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
