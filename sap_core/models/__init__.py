"""From a folder or Hub id to one `LoadedModel`: inspection, loading, families, memory estimates."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
