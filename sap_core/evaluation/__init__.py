"""What a model is worth and what it costs: paired likelihood, task scores, speed, size."""

from importlib import import_module

_HOME = {
    "evaluate": "verb",
    "quick_compare": "quick",
    "text_likelihood": "likelihood",
    "Losses": "likelihood",
    "model_size": "cost",
    "generation_speed": "cost",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
