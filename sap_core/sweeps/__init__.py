"""Many prunings or captures of one model, measured alike: a grid of cells, a folder that resumes, a table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "api": ["sweep"],
        "grid": ["make_grid"],
        "table": ["sweep_table", "summarise", "paired_difference"],
        "tradeoff": ["frontier", "best_plans"],
        "results_table": ["measured_plans"],
        "predict": ["predict_loss"],
    },
)
