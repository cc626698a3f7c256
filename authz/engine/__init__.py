"""Serving engines: the sockets and the loop around a `Service`.

Law: an engine moves bytes. It knows gRPC, deadlines and draining, and nothing about policies or tokens. Every engine
passes the same contract tests (`tests/contracts/`), so that one can replace another.
"""

from authz.engine.contract import Engine, EngineOptions, Handler, Load, TlsFiles

__all__ = ["Engine", "EngineOptions", "Handler", "Load", "TlsFiles"]
