"""What to remove and how: plans, scores, masks, structured units, streamed pruning."""
