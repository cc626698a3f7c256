"""Who waits for the network: the thread that serves, not threads of gRPC's own.

Law: this runs before the first `import grpc` of the process; gRPC reads the variable once, when it starts.

By default gRPC core lets threads of its "event engine" read the sockets and wake the thread that polls the completion
queue: several context switches for every call, each of which leaves the caches cold. Without it for listening sockets,
`poll` itself waits for the sockets. Measured for `docs/performance.md`: a third less CPU for every check. gRPC calls it
an experiment, and says on standard error when it does not know its name any more; everything works either way.
"""

import os
from collections.abc import MutableMapping
from typing import Final

_VARIABLE: Final = "GRPC_EXPERIMENTS"  # comma-separated; a leading minus turns one off
_EXPERIMENT: Final = "event_engine_listener"


def poll_in_the_serving_thread(environment: MutableMapping[str, str] = os.environ) -> None:
    """Turn the event engine off for listening sockets, unless the environment says something about it already."""
    said = environment.get(_VARIABLE, "")
    if _EXPERIMENT not in said:
        environment[_VARIABLE] = ",".join(filter(None, (said, f"-{_EXPERIMENT}")))
