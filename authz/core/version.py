"""The version of this tree, in one place: both distributions are built with it.

Law: one assignment of a literal, because the build reads this file without running it.
"""

__version__ = "0.2.0"
