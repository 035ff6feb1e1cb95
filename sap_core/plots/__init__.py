"""Results to plotly figures, HTML and replay data. No Streamlit, no torch."""
