"""Reads YAML files with the place of each value, and words their mistakes."""
