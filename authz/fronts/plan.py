"""What every front needs of the settings.

Law: pure. Each text here is a plain word (`authz.fronts.values`), each number is within the bounds of the settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.addresses import HostPort, SocketPath, parse_address
from authz.fronts.values import plain
from authz.settings import Settings, endpoints
from authz.settings.fronts import Front

Place = HostPort | SocketPath
_BESIDE_THE_WAIT_S: Final = 1.0
UPSTREAM_IDLE_S: Final = 4
"""An idle connection to Airflow is closed after so many seconds: uvicorn closes it after 5, and we must be first."""
GATE_IDLE_S: Final = 60
"""And one to the gate: it closes after 75."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One front.

    Args:
        name: what it asks about, `/check/<name>/…`.
        base: the path that Airflow is served under, as `/airflow`; "" for none.
        listen: its listener, always with TLS.
        certificate: PEM, with its chain; `key` is its private key.
        client_ca: PEM; callers need a certificate of it. "" for none.
        gate: where the gate answers checks over HTTP; each address is a worker's.
        fastcgi: where it answers FastCGI servers about this front.
        client_address: the header in which the gate reads the caller's address; "" for none.
        check_s: after so many seconds without an answer, the caller gets 503.
        airflow: where Airflow is.
        airflow_name: over TLS the name in its certificate, and `airflow_ca` its authority; "" without TLS.
        header_kib: the longest head of a request, in KiB.
        request_bytes: the longest body of a request.
        idle_s: a call without traffic for so many seconds is ended.
        access_log: a file, "" for standard output.
    """

    name: str
    base: str
    listen: Place
    certificate: str
    key: str
    client_ca: str
    gate: Sequence[Place]
    fastcgi: Sequence[Place]
    client_address: str
    check_s: float
    airflow: Sequence[Place]
    airflow_name: str
    airflow_ca: str
    header_kib: int
    request_bytes: int
    idle_s: int
    access_log: str


def plans(settings: Settings, file: str) -> tuple[Plan, ...]:
    """One plan for each of `fronts`, in their order.

    Raises:
        ConfigError: a value cannot stand in a configuration.
        LookupError: there is no `http_check`; the settings refuse that.
    """
    http = settings.http_check
    if http is None:
        raise LookupError("there is no `http_check` section")
    gate = [
        _place(address, "http_check.listen", file)
        for index in range(http.workers)
        for address in endpoints.of_worker(http.listen, index, http.workers, endpoints.HTTP)
    ]

    def fastcgi(name: str) -> list[Place]:
        listen = [one.listen for one in http.fastcgi if one.audience == name]
        return [
            _place(address, "http_check.fastcgi", file)
            for index in range(http.workers)
            for address in endpoints.of_worker(listen, index, http.workers, endpoints.FASTCGI)
        ]

    bases = {audience.name: audience.base_path or "" for audience in http.audiences}

    def one(front: Front, key: str) -> Plan:
        airflow, tls = front.airflow, front.tls
        return Plan(
            name=plain(front.name, f"{key}.name", file),
            base=plain(base, "http_check.audiences.base_path", file) if (base := bases[front.name]) else "",
            listen=_place(front.listen, f"{key}.listen", file),
            certificate=plain(tls.certificate, f"{key}.tls.certificate", file),
            key=plain(tls.key, f"{key}.tls.key", file),
            client_ca=plain(tls.client_ca, f"{key}.tls.client_ca", file) if tls.client_ca else "",
            gate=gate,
            fastcgi=fastcgi(front.name),
            client_address=http.client_address or "",
            check_s=settings.limits.wait + _BESIDE_THE_WAIT_S,
            airflow=[_place(address, f"{key}.airflow.address", file) for address in airflow.address],
            airflow_name=plain(airflow.server_name, f"{key}.airflow.tls_name", file) if airflow.tls else "",
            airflow_ca=plain(airflow.authority, f"{key}.airflow.tls_ca", file) if airflow.tls else "",
            header_kib=settings.headers_kib,
            request_bytes=front.request_bytes,
            idle_s=max(1, round(front.idle_timeout)),
            access_log=plain(front.access_log, f"{key}.access_log", file) if front.access_log else "",
        )

    return tuple(one(front, f"fronts[{at}]") for at, front in enumerate(settings.fronts))


def _place(address: str, key: str, file: str) -> Place:
    return parse_address(plain(address, key, file))
