"""Pruned checkpoints on disk: formats, model card, verification in a fresh process, upload."""
