"""Calibration passes, statistics, scores and masks of weights."""
