"""Strategies of pruning: direct, progressive within a loss budget, search for a speed-up."""
