"""What an engine gets and what it promises; see the package's docstring."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from authz.core.parked import Parked

CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
HEALTH_SERVICES: Final = frozenset({"", "envoy.service.auth.v3.Authorization"})


class Handler(Protocol):
    """The service, as an engine sees it."""

    def check(self, message: bytes) -> bytes | Parked:
        """Answer a serialised CheckRequest; never raises, and neither does the `resume` of what it returns."""
        ...

    def overloaded(self) -> bytes:
        """The answer under overload; never raises."""
        ...


class Load(Protocol):
    """The engine's count of the `counted` checks that wait; the metrics show it."""

    parked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files. With `client_ca` only clients with a certificate from that authority may connect (mTLS)."""

    certificate: str
    key: str
    client_ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Addresses and limits. Times are seconds, sizes bytes.

    `listen` holds `host:port` and `unix:/path`. `max_streams` calls may be in flight on one connection; Envoy opens
    another one for more. `armed` checks, and as many health checks, may be accepted before the loop looks at them
    (`cq`). `max_parked` checks that are `counted` may wait at a time; the next one is answered as overloaded.
    `max_wait` limits the total wait of one check, even if its deadline is far. A connection that was silent for
    `keepalive` is pinged, and closed with all its calls if no answer comes within the same time. After the signal to
    stop, health answers NOT_SERVING for `drain_delay` while everything is still served, so that Envoy moves on; then
    what is in flight has `drain_grace` to end. `traced`: the handler gets each message as a `TracedMessage`.
    """

    listen: Sequence[str]
    tls: TlsFiles | None = None
    max_message_bytes: int = 256 * 1024
    max_streams: int = 1024
    armed: int = 64
    max_parked: int = 256
    max_wait: float = 2.0
    keepalive: float = 20.0
    drain_delay: float = 2.0
    drain_grace: float = 5.0
    traced: bool = False


def channel_arguments(options: EngineOptions) -> list[tuple[str, int]]:
    """Both engines' arguments for gRPC's core (`grpc/impl/channel_arg_names.h`)."""
    keepalive = int(options.keepalive * 1000)
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_concurrent_streams", options.max_streams),
        ("grpc.so_reuseport", 0),  # a second process on our port must fail, not take half of the calls
        # A peer that vanished without a word would keep its calls for ever.
        ("grpc.keepalive_time_ms", keepalive),
        ("grpc.http2.ping_timeout_ms", keepalive),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def traceparent_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The `traceparent` in the metadata of a call; "" without one."""
    for key, value in metadata:
        if key == "traceparent" and isinstance(value, str):
            return value
    return ""


class Engine(Protocol):
    """Serves until `stop`."""

    def run(self, started: Callable[[Sequence[str]], None]) -> None:
        """Serve in this thread until `stop`; `started` gets the addresses bound (with real ports), once.

        Raises:
            OSError: an address cannot be bound.
        """
        ...

    def stop(self) -> None:
        """Begin to drain. May be called from a signal handler or another thread, and more than once."""
        ...

    def set_serving(self, *, serving: bool) -> None:
        """Set what the health service answers from now on. May be called from any thread."""
        ...
