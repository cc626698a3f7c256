"""`authz doctor`: finds problems between the gate and the servers around it."""

from dataclasses import asdict
from pathlib import Path

import click
import orjson

from authz.cli.options import json_option, settings_option
from authz.core.characters import one_line


@click.command(short_help="Ask Airflow whether it accepts what the gate sends.")
@click.option("--airflow", "url", required=True, help="Airflow's own address, not Envoy's: http://127.0.0.1:8080")
@click.option("--upstream", help="The upstream in the settings that this Airflow is; needed where there are several.")
@settings_option
@json_option
def doctor(url: str, upstream: str | None, settings_path: Path, *, as_json: bool) -> None:
    """Send one assertion to Airflow and print both audiences and both clocks.

    The assertion names no person and grants no rights. Exit status 1 when Airflow refuses it, or accepts what it should
    not, or when the candidate of the settings (`shadow`) cannot be compared.
    """
    from authz import settings as files  # noqa: PLC0415 see above
    from authz.serve import doctor as doctors  # noqa: PLC0415 cryptography and HTTP cost start-up time that --help need not pay

    if not url.startswith(("http://", "https://")):
        raise click.UsageError("--airflow takes a URL: http://127.0.0.1:8080")
    settings = files.load(settings_path)
    of = doctors.target(settings, str(settings_path), upstream)
    issuer = settings.assertion.issuer if settings.assertion is not None else ""
    findings = doctors.ask_airflow(url, of, issuer=issuer, key=doctors.signing_key(settings))
    findings += doctors.of_candidate(settings, str(settings_path))
    if as_json:
        click.echo(orjson.dumps([asdict(finding) for finding in findings]).decode())
    else:
        for finding in findings:
            mark, colour = ("ok", "green") if finding.ok else ("FAILED", "red")
            click.echo(f"{click.style(f'{mark:8}', fg=colour)} {finding.name:10} {one_line(finding.text)}")
            if not finding.ok:
                click.echo(f"{'':8} {'':10} → {finding.hint}")
    click.get_current_context().exit(1 if doctors.worst(findings) else 0)
