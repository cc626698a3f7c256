"""A guard under which nothing may touch the network. Test support."""

import contextlib
import sys

_denying = False


def _deny_network(event, _args):
    if _denying and event.startswith(("socket.", "urllib.", "http.", "ftplib.", "subprocess.", "os.system")):
        raise AssertionError(f"network or process used: {event}")


sys.addaudithook(_deny_network)


@contextlib.contextmanager
def network_denied():
    """Inside, whoever touches the network or starts a process fails. An audit hook sees every way to do it."""
    global _denying  # noqa: PLW0603 an audit hook cannot be removed, only silenced
    _denying = True
    try:
        yield
    finally:
        _denying = False
