"""Panels of the Sinks page."""
