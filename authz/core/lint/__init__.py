"""Finds what a valid policy probably did not mean."""
