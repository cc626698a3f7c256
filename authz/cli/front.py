"""`authz front`: configurations of fronts other than Envoy."""

from pathlib import Path

import click

from authz.cli.options import settings_option
from authz.cli.policy_files import PolicyFile
from authz.core import cases
from authz.fronts import worker
from authz.fronts.render import FRONTS, render


@click.command(short_help="Print the configuration of another front than Envoy.")
@click.argument("name", type=click.Choice(sorted(FRONTS)))
@settings_option
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files into this folder instead of printing.",
)
def front(name: str, settings_path: Path, output: Path | None) -> None:
    """Print the complete configuration of a front that asks the gate over HTTP: one listener for each of `fronts`.

    \b
    authz front nginx --settings authz.yaml --output /etc/nginx
    nginx -t
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    from authz import settings as files  # noqa: PLC0415 only this command needs it

    settings = files.load(settings_path)
    made = dict(render(name, settings, str(settings_path), (output or Path()).absolute()))
    if name == "worker":
        bundle = PolicyFile(Path(settings.policy)).bundle()
        made[worker.ISSUERS] = worker.issuers(cases.load(bundle).policy.issuers.values(), settings.keys)
    if output is None:
        for file, text in made.items():
            if len(made) > 1:
                click.echo(f"# {file}")
            click.echo(text, nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for file, text in made.items():
        (output / file).parent.mkdir(exist_ok=True)
        (output / file).write_text(text)
