"""What counts as a sink: the rules by name."""

SINK_RULES: dict[str, object] = {"column_sum": None, "rate": None, "zscore": None}
