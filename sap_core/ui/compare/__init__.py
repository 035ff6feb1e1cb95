"""Panels of the Compare page."""
