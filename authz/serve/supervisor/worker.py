"""A worker process: one serving process that knows its slot.

Law: it ends when its supervisor does, however the supervisor ended: the lifeline closes when the process at the other
end is gone. The worker then drains as for SIGTERM; if that takes too long it ends anyway, and it removes the shared
folder.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Final

from authz.ops.metrics import OPENMETRICS
from authz.serve.supervisor.frozen_keys import frozen
from authz.serve.supervisor.key_socket import SupervisedFetcher
from authz.serve.supervisor.worker_context import WorkerContext
from authz.settings import Admin, Settings, endpoints
from authz.system.threads import Background

LISTENING: Final = b"listening\n"
_LAST_WORDS_S: Final = 1
_MARGIN_S: Final = 3.0
_ORPHANED: Final = 70


def settings_at(context: WorkerContext, settings: Settings) -> Settings:
    """The settings of one worker: its own addresses, a private one for its admin pages, and what it shares."""
    listen, http = endpoints.of_worker(settings.listen, context.index, context.count), settings.http_check
    if context.over_http and http is not None:
        number = context.index - context.count
        listen = endpoints.of_worker(http.listen, number, context.http, endpoints.HTTP)
        places = endpoints.of_worker([one.listen for one in http.fastcgi], number, context.http, endpoints.FASTCGI)
        pairs = zip(http.fastcgi, places, strict=True)
        http = http.model_copy(update={"fastcgi": tuple(one.model_copy(update={"listen": at}) for one, at in pairs)})
    file = settings.revocation.file or str(context.revocations)
    backchannel = settings.revocation.backchannel if context.index == 0 else None  # one listens, all learn of it
    revocation = settings.revocation.model_copy(update={"file": file, "backchannel": backchannel})
    shared = {"revocation": revocation, "http_check": http}
    settings = frozen(settings, context.signing_keys)
    return settings.model_copy(update={"listen": listen, "admin": Admin(listen=f"unix:{context.admin}"), **shared})


def run(settings: Settings, context: WorkerContext) -> int:
    """Serve as that worker until it is stopped; returns the exit status.

    Raises:
        ConfigError: a file that the settings name cannot be used.
        OSError: an address cannot be listened on.
    """
    from authz.serve.app import App, freeze_gc  # noqa: PLC0415 the supervisor imports this module, without gRPC

    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the supervisor blocks signals, and we inherit that
    fetcher = SupervisedFetcher(context.keys, max_bytes=settings.keys.max_bytes, timeout_s=settings.keys.timeout)
    app = App(
        settings_at(context, settings),
        fetcher=fetcher,
        log_lock=context.log_lock,
        replays=context.replays,
        worker=context.index,
        quiet=True,
        lints=context.index == 0,  # one worker logs for all
        over_http=context.over_http,
    )
    with socket.socket(fileno=context.lifeline) as lifeline:
        over = threading.Event()
        Background(_follow, args=(lifeline, context, app.settings, over), name="lifeline").start()

        def tell(words: bytes) -> None:
            with contextlib.suppress(OSError):  # the supervisor is gone: no one reads it
                lifeline.sendall(words)

        def listening(_addresses: Sequence[str]) -> None:
            freeze_gc()
            tell(LISTENING)

        status = app.run(listening)
        over.set()
        lifeline.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _LAST_WORDS_S, 0))
        tell(app.metrics.exposition(OPENMETRICS)[0])
    return status


def _follow(lifeline: socket.socket, context: WorkerContext, settings: Settings, over: threading.Event) -> None:
    """Wait for the supervisor's end, the only event on this socket."""
    with contextlib.suppress(OSError):  # the line is reset if the supervisor died with our messages unread
        while lifeline.recv(1):
            pass
    if over.is_set():
        return
    shutil.rmtree(context.folder, ignore_errors=True)  # no other process is left to do it
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(settings.shutdown.longest + _MARGIN_S)
    os._exit(_ORPHANED)
