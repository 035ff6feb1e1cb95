"""Attention reduced to row statistics while a model runs; no array of size length x length is kept."""
