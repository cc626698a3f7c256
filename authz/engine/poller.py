"""Who waits for the network: the thread that serves, or threads of gRPC's own.

Law 1: this runs before the first `import grpc` of the process; gRPC reads the variable once, when it starts.
Law 2: where anybody can connect, gRPC's own threads read. One peer that fills its socket with HTTP/2 frames of no use
(SETTINGS, WINDOW_UPDATE) would otherwise keep the serving thread reading, and every other check waiting.

By default gRPC core lets threads of its "event engine" read the sockets and wake the thread that polls the completion
queue: several context switches for every call, each of which leaves the caches cold. Without it for listening sockets,
`poll` itself waits for the sockets. Measured for `docs/performance.md`: a third less CPU for every check. gRPC calls it
an experiment, and says on standard error when it does not know its name any more; everything works either way.
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

    These are Unix sockets, which have an owner and a mode, and addresses that demand a client certificate. What the
    environment says of the event engine already stays.
    """
    said = environment.get(_VARIABLE, "")
    known = client_ca or all(address.startswith("unix:") for address in listen)
    if known and _EXPERIMENT not in said:
        environment[_VARIABLE] = ",".join(filter(None, (said, f"-{_EXPERIMENT}")))
