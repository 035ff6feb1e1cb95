"""Ways to carry a pruning out: direct, progressive within a loss budget, search for a speed."""
