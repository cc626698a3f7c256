"""The ways out of a settings file."""

from authz import settings as files
from authz.model import Level
from authz.ways_out import WayOut, WaysOut


def ways_out(settings: files.Settings, file: str) -> WaysOut | None:
    """What the settings of a file say of the way out; None where they have none."""
    egress = settings.envoy.egress if settings.envoy is not None else None
    if egress is None:
        return None
    return WaysOut(
        file=file,
        listen=egress.listen,
        destinations=tuple(
            WayOut(
                name=destination.name,
                hosts=destination.hosts,
                port=_port(destination.address),
                listen=destination.listen or "",
                path=destination.path or "",
                tunnel=destination.tunnel,
            )
            for destination in egress.destinations
        ),
        others=egress.dynamic.ports if egress.dynamic is not None else (),
        surest=_surest(settings),
    )


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def _surest(settings: files.Settings) -> Level | None:
    runs = settings.run_identity
    if runs is None:
        return None
    return Level.VERIFIED if runs.issues and runs.signing_key_isolated else Level.ASSERTED
