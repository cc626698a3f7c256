"""Which addresses each worker process listens on: the same answer for `authz serve` and for `authz envoy`.

Law: pure. One worker listens where the settings say. Of several workers, number i (from 0) listens on
`worker-i.sock` in the folder of a Unix socket (`http-i.sock` for checks over HTTP, `fastcgi-i.sock` over FastCGI), and
on the port plus i of a TCP address. Nothing is shared: gRPC for
Python cannot share a Unix socket, and SO_REUSEPORT would balance Envoy's few connections instead of its checks.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

_PORTS: Final = 65535
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})
WORKER: Final = "worker"
HTTP: Final = "http"
"""Workers that answer checks over HTTP."""
FASTCGI: Final = "fastcgi"
"""Where they are asked over FastCGI."""


def of_worker(listen: Sequence[str], index: int, count: int, kind: str = WORKER) -> tuple[str, ...]:
    """The addresses of one worker out of `count` of its kind, in the order of `listen`."""
    return tuple(_derived(address, index, count, kind) for address in listen)


def of_all(listen: Sequence[str], count: int) -> tuple[str, ...]:
    """The addresses of all workers, worker by worker."""
    return tuple(address for index in range(count) for address in of_worker(listen, index, count))


def clashes(
    listen: Sequence[str], count: int, taken: list[tuple[str, str]], kind: str = WORKER, key: str = "listen"
) -> Iterator[tuple[int, str]]:
    """Addresses that cannot be listened on: the position in `listen`, and why.

    `taken` are addresses that others listen on, each with its key; these are added.
    """
    for position, address in enumerate(listen):
        for index in range(count):
            wanted = _derived(address, index, count, kind)
            if not wanted.startswith("unix:") and _port(wanted) > _PORTS:
                yield position, f"{count} workers need the ports from {address} upwards, and there are too few"
                break
            other = next((whose for used, whose in taken if _overlap(wanted, used)), "")
            if other:
                of = f"worker {index} would listen on {wanted}" if count > 1 else f"{wanted} is listened on twice"
                yield position, f"{of}, which belongs to {other}"
                break
            taken.append((wanted, f"{key}[{position}]" + (f" of worker {index}" if count > 1 else "")))


def _derived(address: str, index: int, count: int, kind: str) -> str:
    if count == 1:
        return address
    if address.startswith("unix:"):
        return f"unix:{PurePosixPath(address.removeprefix('unix:')).with_name(f'{kind}-{index}.sock')}"
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + index}" if int(port) else address  # port 0: each takes a free one


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _overlap(one: str, other: str) -> bool:
    """Whether two addresses cannot both be listened on."""
    if one.startswith("unix:") or other.startswith("unix:"):
        return one == other
    if _port(one) != _port(other) or not _port(one):
        return False
    hosts = {_host(one), _host(other)}
    return len(hosts) == 1 or bool(hosts & _EVERYWHERE)


def _host(address: str) -> str:
    host = address.rpartition(":")[0].strip("[]")
    return "127.0.0.1" if host == "localhost" else host
