"""`authz serve`: the long-running command."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from authz.cli.options import engine_option, settings_option, workers_option

if TYPE_CHECKING:
    from authz.settings import Settings


@click.command(short_help="Answer Envoy's checks until SIGTERM.")
@settings_option
@workers_option
@engine_option
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
def serve(
    settings_path: Path,
    workers: int | Literal["auto"] | None,
    engine: Literal["cq", "aio"] | None,
    *,
    quiet: bool,
) -> None:
    """Answer Envoy's checks until SIGTERM.

    Serves ext_authz on the addresses of `listen`, metrics and readiness on `admin.listen`. The policy file is watched:
    a saved change is live within a second, a mistake in it changes nothing. SIGHUP reads it again and reopens the
    decision log. Several workers each have an address of their own, which `authz envoy` knows.
    """
    from authz.system import signals  # noqa: PLC0415 as early as possible

    signals.ignore()
    from authz import settings as files  # noqa: PLC0415 pydantic costs start-up time that --help need not pay
    from authz.engine.poller import choose_poller  # noqa: PLC0415 see above; gRPC is not loaded yet
    from authz.serve.supervisor.worker_context import context_of  # noqa: PLC0415 see above

    context = context_of(os.environ)
    data = files.read(context.settings if context else settings_path)
    settings = files.parse(data, settings_path, workers=context.count if context else workers, engine=engine)
    writes_log = context is not None and context.writes_log
    who = "" if context is None else " log-writer" if writes_log else f" worker-{context.index}"
    _log_to_stderr(logging.WARNING if quiet else settings.log.level.upper(), who)
    if context is not None and writes_log:
        from authz.serve.supervisor import log_process  # noqa: PLC0415 see above; it needs no gRPC

        click.get_current_context().exit(log_process.run(settings, context))
    tls = settings.tls
    choose_poller(settings.listen, client_ca=tls is not None and tls.client_ca is not None)
    if context is not None:
        from authz.serve.supervisor import worker  # noqa: PLC0415 see above

        status = worker.run(settings, context)
    else:
        from authz.system import state_lock  # noqa: PLC0415 see above

        with state_lock.held(Path(settings.state) if settings.state else None, str(settings_path)):
            status = _serve_alone(settings, settings_path, data, quiet=quiet)
    click.get_current_context().exit(status)


def _serve_alone(settings: "Settings", path: Path, data: bytes, *, quiet: bool) -> int:
    """Serve with the workers that the settings request, or in this process."""
    if settings.worker_count > 1 or settings.audit.log or settings.http_check is not None:
        from authz.serve.supervisor.run import Supervisor  # noqa: PLC0415 pydantic and gRPC cost start-up time

        arguments = ["serve", "--settings", str(path), "--engine", settings.engine, *(["--quiet"] if quiet else [])]
        return Supervisor(settings, data, arguments).run()
    from authz.serve.app import App, freeze_gc  # noqa: PLC0415 gRPC too

    return App(settings).run(lambda _addresses: freeze_gc())


def _log_to_stderr(level: int | str, who: str) -> None:
    logging.basicConfig(level=level, format=f"%(asctime)s{who} %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpcore").setLevel(logging.WARNING)  # it would log every key fetch
