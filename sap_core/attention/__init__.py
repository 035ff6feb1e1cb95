"""Attention reduced to row statistics while a model runs; nothing of size length x length is kept."""
