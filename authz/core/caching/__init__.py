"""Bounded containers: the second-chance cache, shared values, shares of a caller."""
