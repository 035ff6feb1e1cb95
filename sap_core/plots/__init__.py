"""Draw results as plotly figures, HTML and replay data. No Streamlit, no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
