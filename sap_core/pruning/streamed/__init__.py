"""Pruning of checkpoints larger than memory, block by block from files to files; see `sap_core.prune_checkpoint`."""
