"""Methods, patterns, allocations and plans: everything that is decided without weights. No torch."""
