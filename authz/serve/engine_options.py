"""What the serving engine is given, from the settings."""

from authz.engine import EngineOptions, TlsFiles
from authz.settings import Settings


def engine_options(settings: Settings) -> EngineOptions:
    """Addresses, TLS, limits and the time to drain."""
    tls = settings.tls
    return EngineOptions(
        listen=settings.listen,
        tls=TlsFiles(certificate=tls.certificate, key=tls.key, client_ca=tls.client_ca) if tls else None,
        max_message_bytes=settings.limits.message_bytes,
        max_parked=settings.limits.parked,
        max_wait=settings.limits.wait,
        drain_delay=settings.shutdown.drain_delay,
        drain_grace=settings.shutdown.drain_grace,
        traced=settings.tracing is not None,
    )
