"""From a folder or Hub id to one `LoadedModel`: inspection, loading, families, memory estimates."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loading": ["load_model"],
        "info": ["ModelInfo", "inspect_model"],
        "loaded": ["LoadedModel"],
        "family": ["Family"],
        "family_registry": ["register_family", "families_table"],
    },
)
