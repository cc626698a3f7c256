"""YAML files with the place of everything in them, and the wording of mistakes."""
