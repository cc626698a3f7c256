"""What `make dist` builds: the product, whole, and nothing that only a checkout needs."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
