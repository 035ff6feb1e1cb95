"""Make a model smaller: remove units, describe the remaining shape, load elastic checkpoints at a fraction."""
