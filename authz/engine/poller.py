"""Which thread waits for the network: the serving thread, or gRPC's own threads.

Law 1: this runs before the first `import grpc` of the process; gRPC reads the variable once, when it starts.
Law 2: where anyone can connect, gRPC's own threads read. Otherwise one peer that fills its socket with useless HTTP/2
frames (SETTINGS, WINDOW_UPDATE) would keep the serving thread reading, and every other check waiting.

By default gRPC core lets threads of its "event engine" read the sockets and wake the thread that polls the completion
queue: several context switches for every call, each of which leaves the caches cold. Without it for listening sockets,
`poll` itself waits for the sockets. Measured for `docs/performance.md`: a third less CPU for every check. gRPC calls it
an experiment, and reports on standard error if it no longer knows its name; everything works either way.
"""

import os
from collections.abc import MutableMapping, Sequence
from typing import Final

_VARIABLE: Final = "GRPC_EXPERIMENTS"  # comma-separated; a leading minus turns one off
_EXPERIMENT: Final = "event_engine_listener"


def choose_poller(
    listen: Sequence[str], *, client_ca: bool, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Let the serving thread read the sockets where only peers that we know can connect.

    These are Unix sockets, which have an owner and a mode, and addresses that demand a client certificate. An existing
    setting of the event engine in the environment stays.
    """
    said = environment.get(_VARIABLE, "")
    known = client_ca or all(address.startswith("unix:") for address in listen)
    if known and _EXPERIMENT not in said:
        environment[_VARIABLE] = ",".join(filter(None, (said, f"-{_EXPERIMENT}")))
