"""Panels of the Start page."""
