"""Attention sinks: where they are, how they move, how unstable each head is. Pure arrays, no torch."""
