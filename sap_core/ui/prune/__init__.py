"""Panels of the Prune page."""
