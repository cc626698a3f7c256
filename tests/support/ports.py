"""Where what a test starts can listen."""

from demo.ports import free_ports


def free_port() -> int:
    """A port on 127.0.0.1 that nothing uses, and that nothing else is given."""
    return free_ports(1)[0]


def loopback() -> str:
    """The same as an address."""
    return f"127.0.0.1:{free_port()}"
