"""Distillation of a pruned model from the dense one."""
