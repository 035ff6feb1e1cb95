"""The named choices of every option: methods, patterns, allocations, strategies, samplers, sink rules. No torch.

Specs check names against these tables; the code that implements a choice is in the packages above.
"""
