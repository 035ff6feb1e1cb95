"""Entry of the studio: `streamlit run app.py`, or `sap studio`. Navigation only; the pages are in pages/."""

import streamlit as st

from sap_core.ui.widgets.layout import (
    ICON,
    LOGO,
    navigation,
    warm_up,
    work_panel,
)

st.set_page_config(page_title="Sink-Aware Pruning Studio", page_icon=str(ICON), layout="wide")
st.logo(str(LOGO), size="large")
page = navigation()
page.run()
work_panel()
warm_up(page.title)
