"""Entry of the studio: `streamlit run app.py`, or `sap studio`. Navigation only; the pages are in pages/.

Streamlit imports this file once, for the server, and runs it as a script for every visit.
"""

import streamlit as st

if __name__ == "__main__":
    from sap_core.ui.widgets.layout import ICON, LOGO, navigation, warm_up, work_panel

    st.set_page_config(page_title="Sink-Aware Pruning Studio", page_icon=str(ICON), layout="wide")
    st.logo(str(LOGO), size="large")
    page = navigation()
    page.run()
    work_panel()
    warm_up(page.title)
else:
    from starlette.middleware import Middleware

    from sap_core.access import Gate, access_for
    from sap_core.archive_routes import archive_routes

    app = st.App(
        __file__,
        routes=archive_routes(st.get_option("server.baseUrlPath") or ""),
        middleware=[Middleware(Gate, access=access_for(st.get_option("server.address")))],
    )
