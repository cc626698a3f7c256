"""`authz doctor`: finds ways around the gate, and problems between it and the servers around it."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from authz.cli.options import json_option, settings_option
from authz.core.characters import one_line
from authz.core.urls import Url

if TYPE_CHECKING:
    from authz.core.doctor.kinds import Finding
    from authz.serve.doctor import Good
    from authz.settings import Settings

_MOST_OF_ONE: Final = 20
_COLOURS: Final = {"error": "red", "warning": "yellow", "note": "blue"}
_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class _Given:
    """What the command line names."""

    settings_path: Path
    settings: "Settings | None"
    proxies: tuple[Path, ...]
    envoy_admin: Url | None
    airflow_cfg: Path | None
    airflow_env: Path | None

    @property
    def has_proxy(self) -> bool:
        return bool(self.proxies) or self.envoy_admin is not None

    @property
    def has_airflow(self) -> bool:
        return self.airflow_cfg is not None or self.airflow_env is not None


def _url(_ctx: click.Context, _option: click.Parameter, value: str | None) -> Url | None:
    """The URL of an option; a mistake does not quote it, because it may hold a password."""
    if value is None:
        return None
    try:
        url = Url.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write http://127.0.0.1:8080") from None
    if url.query:
        raise click.BadParameter("a URL with a query")
    return url


@click.command(short_help="Find ways around the gate in Envoy's and Airflow's configuration.")
@click.option(
    "--proxy",
    "proxies",
    type=_FILE,
    multiple=True,
    help="Configuration of what is in front: Envoy's bootstrap or a saved /config_dump, manifests of Envoy Gateway or"
    " Istio, agentgateway's configuration. May be repeated.",
)
@click.option(
    "--envoy-admin",
    metavar="URL",
    callback=_url,
    help="Ask a running Envoy for its configuration: http://127.0.0.1:9901",
)
@click.option("--airflow-cfg", type=_FILE, help="Airflow's airflow.cfg.")
@click.option(
    "--airflow-env",
    type=_FILE,
    help="Environment of Airflow's API server: NAME=value lines, or /proc/PID/environ. Default: that of this process.",
)
@click.option(
    "--airflow",
    "url",
    metavar="URL",
    callback=_url,
    help="Ask Airflow itself, not through Envoy: http://127.0.0.1:8080",
)
@click.option("--upstream", help="The upstream in the settings that this Airflow is; needed where there are several.")
@settings_option
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    *,
    proxies: tuple[Path, ...],
    envoy_admin: Url | None,
    airflow_cfg: Path | None,
    airflow_env: Path | None,
    url: Url | None,
    upstream: str | None,
    settings_path: Path,
    as_json: bool,
) -> None:
    """Read the configuration of the parts around the gate, ask those that run, and print what is wrong.

    Without options only the gate's settings and the files that they name are looked at. `--airflow` sends one assertion
    that names no person and grants no rights, and prints both audiences and both clocks. Exit status 1 when there is an
    error among the findings, when Airflow refuses the gate, or accepts what it should not, or when the candidate of the
    settings (`shadow`) cannot be compared.
    """
    from authz import settings as files  # noqa: PLC0415 see above
    from authz.core.doctor.kinds import Finding, in_order  # noqa: PLC0415 see above

    compared = bool(proxies or envoy_admin or airflow_cfg or airflow_env)
    given = ctx.get_parameter_source("settings_path") is not click.core.ParameterSource.DEFAULT
    needed = given or url is not None or not compared
    settings = files.load(settings_path) if needed or settings_path.exists() else None
    answers = _asked(url, upstream, settings, str(settings_path)) if url is not None and settings is not None else []
    files_given = _Given(settings_path, settings, proxies, envoy_admin, airflow_cfg, airflow_env)
    good = [one for one in answers if not isinstance(one, Finding)]
    wrong = [one for one in answers if isinstance(one, Finding)]
    found = in_order([*wrong, *_found(files_given), *(_not_given(files_given) if url is None else ())])
    if as_json:
        click.echo(orjson.dumps([*map(_of_good, good), *map(_of_finding, found)]).decode())
    else:
        _print(good, found)
    ctx.exit(1 if any(one.kind.severity == "error" for one in found) else 0)


def _asked(url: Url, upstream: str | None, settings: "Settings", path: str) -> "Sequence[Good | Finding]":
    from authz.serve import doctor as doctors  # noqa: PLC0415 see above

    of = doctors.target(settings, path, upstream)
    issuer = settings.assertion.issuer if settings.assertion is not None else ""
    answers = doctors.ask_airflow(url, of, issuer=issuer, key=doctors.signing_key(settings))
    return [*answers, *doctors.of_candidate(settings, path)]


def _found(given: _Given) -> "Iterator[Finding]":
    from authz.serve import doctor_files, envoy_admin  # noqa: PLC0415 cryptography and HTTP cost start-up time

    now, name = time.time(), str(given.settings_path)
    site, unread = doctor_files.site(given.settings, name)
    if given.settings is not None:
        yield from doctor_files.of_settings(given.settings, name, now)
    for path in given.proxies:
        yield from doctor_files.of_proxy(path, site, now)
    if given.envoy_admin is not None:
        data, clocks = envoy_admin.ask(given.envoy_admin, time.time)
        yield from (*clocks, *doctor_files.of_document(data, str(given.envoy_admin), site, now))
    if given.has_airflow:
        yield from doctor_files.of_airflow(given.airflow_cfg, given.airflow_env, os.environ, site, now)
    if given.has_proxy or given.has_airflow:
        yield from unread


def _not_given(given: _Given) -> "Iterator[Finding]":
    from authz.core.doctor.kinds import Finding  # noqa: PLC0415 see above

    absent = (
        (given.settings is None, "the gate's settings", "--settings"),
        (not given.has_proxy, "the configuration of Envoy or another proxy", "--proxy` or `--envoy-admin"),
        (not given.has_airflow, "Airflow's options", "--airflow-cfg` and `--airflow-env"),
    )
    for is_absent, what, option in absent:
        if is_absent:
            yield Finding(id="not-given", where="command line", text=f"{what}: `{option}`")


def _of_good(good: "Good") -> dict[str, Any]:
    return {**asdict(good), "severity": "ok", "why": "", "fix": ""}


def _of_finding(found: "Finding") -> dict[str, Any]:
    kind = found.kind
    return {**asdict(found), "severity": kind.severity.value, "why": kind.why, "fix": kind.fix}


def _print(good: "Sequence[Good]", found: "Sequence[Finding]") -> None:
    for one in good:
        click.echo(f"{click.style('ok      ', fg='green')} {one.id}  {one_line(one.where)}")
        click.echo(f"{'':8} {one_line(one.text)}")
    counts = Counter(one.id for one in found)
    shown: Counter[str] = Counter()
    for wrong in found:
        shown[wrong.id] += 1
        if shown[wrong.id] > _MOST_OF_ONE:
            continue
        severity = wrong.kind.severity.value
        click.echo(f"{click.style(f'{severity:8}', fg=_COLOURS[severity])} {wrong.id}  {one_line(wrong.where)}")
        click.echo(f"{'':8} {one_line(wrong.text)}")
        if shown[wrong.id] == 1:
            click.echo(f"{'':8} why: {wrong.kind.why}\n{'':8} fix: {wrong.kind.fix}")
        if shown[wrong.id] == _MOST_OF_ONE and counts[wrong.id] > _MOST_OF_ONE:
            click.echo(f"{'':8} and {counts[wrong.id] - _MOST_OF_ONE} more `{wrong.id}`: --json has them all")
    if not good and not any(one.id != "not-given" for one in found):
        click.echo("nothing found in what was looked at" if found else "nothing found")
