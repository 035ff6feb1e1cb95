"""Whole units removed: heads, channels, layers; compensation by least squares; elastic checkpoints."""
