"""A package, so that the browser ends with the last of its tests.

Playwright keeps an event loop in the thread of the tests, and later tests have loops of their own.
"""
