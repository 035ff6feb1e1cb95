"""A model made smaller: units removed, shapes left, elastic checkpoints cut to size."""
