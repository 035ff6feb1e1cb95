"""The Streamlit studio: widgets shared by all pages, and one package per page. No torch."""
