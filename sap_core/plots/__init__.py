"""Results to plotly figures, HTML and replay data. No Streamlit, no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "view": ["make_view", "View"],
        "heatmap": ["trajectory_heatmap"],
        "multiples": ["layer_multiples"],
        "heads": ["head_grid", "component_bars"],
        "lines": ["step_lines", "frequency_bars"],
        "plan": ["plan_bars", "plan_matrices", "removed_heads"],
        "attention": ["attention_figure"],
        "shaded": ["shaded_text"],
        "replay": ["replay_data"],
        "compare": ["difference_heatmap"],
        "token_types": ["type_heatmap"],
        "figure_files": ["origin", "save_figure"],
        "run_report": ["report"],
        "theme": ["CONFIG"],
    },
)
