"""Panels of the Interventions page."""
