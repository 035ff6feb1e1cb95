"""Panels of the Heads page."""
