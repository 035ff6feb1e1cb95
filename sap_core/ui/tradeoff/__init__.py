"""Panels of the Tradeoff page."""
