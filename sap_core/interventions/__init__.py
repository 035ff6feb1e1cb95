"""Change a model while it runs, and measure what the change costs: sinks that can't be attended to, heads left out."""
