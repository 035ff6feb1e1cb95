"""What a sink is, how it moves, how unstable a head is. Pure arrays, no torch."""
