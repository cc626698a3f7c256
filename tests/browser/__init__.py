"""A package, as no other folder of tests is, because pytest ends fixtures of package scope only where a package ends.

They must end there: Playwright keeps an event loop in the thread of the tests, and later tests have loops of their own.
"""
