"""Bounded containers: the CLOCK cache, value interning, the rate limiter per caller."""
