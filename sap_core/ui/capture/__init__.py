"""Panels of the Capture page."""
