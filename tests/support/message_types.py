"""Makes rendering Envoy's configuration cheaper in tests, without changing what is rendered."""

from functools import cache

from betterproto2 import Message


def remember_type_hints():
    """betterproto2 works out the type hints of a message's class anew for each message: a third of each rendering."""
    worked_out = cache(Message._type_hints.__func__)
    Message._type_hints = classmethod(worked_out)
