"""`authz init`: writes a policy, settings and tests to begin with, and shows that they pass.

Law: it writes only new files, and only what the server's own loader accepts. If one of its files is there already, it
writes none. Everything that it asks has an option, so that it runs without a person too.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import orjson

from authz.cli.files import lint
from authz.cli.testing import run_tests
from authz.core import cases
from authz.core.documents.wording import Mistake
from authz.core.errors import ConfigError, Problem
from authz.core.policy import AIRFLOW_ROLES, Bundle, json_schema
from authz.core.policy.schema import url_scheme
from authz.core.urls import Url

_POLICY: Final = "policy.yaml"
_SETTINGS: Final = "authz.yaml"
_SCHEMAS: Final = {"policy": "schemas/policy.schema.json", "settings": "schemas/settings.schema.json"}
_READS: Final = "GET /api/v2/dags/example"
_RUNS: Final = "POST /api/v2/dags/example/dagRuns"
_POOLS: Final = "POST /api/v2/pools"
_MAY: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "viewer": ((_READS, "allow"), (_RUNS, "deny")),
    "user": ((_RUNS, "allow"), (_POOLS, "deny")),
    "op": ((_POOLS, "allow"),),
    "admin": ((_POOLS, "allow"), ("DELETE /api/v2/connections/example", "allow")),
}


def _issuer(value: str) -> str:
    """The URL of an issuer, as the policy takes it."""
    try:
        scheme = url_scheme(value)
    except Mistake as mistake:
        raise click.BadParameter(f"{mistake.message}: {mistake.hint}") from None
    if scheme == "http":
        raise click.BadParameter("keys that are fetched over plain http can be replaced on the way: use https")
    return value


def _address(value: str) -> str:
    """`host:port`; a URL of which only that is meant is taken too."""
    with contextlib.suppress(ValueError):
        url = Url.parse(value if "://" in value else f"http://{value}")
        host, _, port = value.removeprefix("http://").rstrip("/").rpartition(":")
        if url.scheme == "http" and host and port.isdecimal() and not url.path.strip("/"):
            return f"{host}:{port}"
    raise click.BadParameter(f"{value!r} is not an address as 127.0.0.1:8080")


def _group(value: str) -> tuple[str, str]:
    """`GROUP=ROLE`. Groups may be names of a directory, which hold `=` and commas."""
    group, _, role = value.rpartition("=")
    group, role = group.strip(), role.strip()
    if not group or role not in AIRFLOW_ROLES:
        raise click.BadParameter(f"{value!r} is not GROUP=ROLE with one of {', '.join(AIRFLOW_ROLES)}")
    return group, role


def _name(value: str) -> str:
    if not value.strip():
        raise click.BadParameter("it is empty")
    return value.strip()


def _checked(check: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """The callback of an option whose values `check` reads; None where it is not given."""

    def callback(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(check, value))
        return None if value is None else check(value)

    return callback


@click.command(short_help="Write a policy, settings and tests to begin with.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--issuer", callback=_checked(_issuer), help="What your provider writes into `iss`, a URL.")
@click.option("--admins", callback=_checked(_name), help="The group of those who administer Airflow.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP=ROLE",
    callback=_checked(_group),
    help=f"A group, and which of Airflow's roles it has: {', '.join(AIRFLOW_ROLES)}. May be given several times.",
)
@click.option("--airflow", callback=_checked(_address), help="Where Airflow's API server listens: 127.0.0.1:8080.")
@click.option("--audience", default="airflow", show_default=True, help="What your provider writes into `aud`.")
def init(
    folder: Path,
    *,
    issuer: str | None,
    admins: str | None,
    groups: tuple[tuple[str, str], ...],
    airflow: str | None,
    audience: str,
) -> None:
    """Write policy.yaml with tests, authz.yaml, and schemas for editors into FOLDER, and check them.

    Asks what no option says; with --issuer, --admins and --airflow it asks nothing. No file is overwritten.

    \b
    authz init
    authz init gate --issuer https://idp.example.com/realms/data --admins airflow-admins \\
      --group data-readers=viewer --group data-engineers=user --airflow 127.0.0.1:8080
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    _refuse_to_overwrite(folder)
    if None in {issuer, admins, airflow}:
        issuer = issuer or click.prompt("Issuer: the URL that your provider writes into `iss`", value_proc=_issuer)
        admins = admins or click.prompt("The group of those who administer Airflow", value_proc=_name)
        groups = groups or tuple(_more_groups())
        airflow = airflow or click.prompt(
            "Where Airflow's API server listens", default="127.0.0.1:8080", value_proc=_address
        )
    roles = _roles([*groups, (str(admins), "admin")])
    policy = _policy(str(issuer), audience, roles)
    cases.load(Bundle(policy.encode(), _POLICY))  # before anything is written
    settings = _settings(str(airflow), audience)
    _check_settings(policy, settings)
    _write(folder, policy, settings)
    _show(folder)


def _more_groups() -> Iterator[tuple[str, str]]:
    """Groups and their roles, until the answer is empty."""
    text = f"Another group and its role in Airflow, GROUP=ROLE ({', '.join(AIRFLOW_ROLES)}; empty: no more)"
    while answer := click.prompt(
        text, default="", show_default=False, value_proc=lambda value: _group(value) if value.strip() else None
    ):
        yield answer


def _roles(groups: list[tuple[str, str]]) -> dict[str, list[str]]:
    """The groups of each role, the weakest role first."""
    return {
        role: found
        for role in AIRFLOW_ROLES
        if (found := list(dict.fromkeys(group for group, wanted in groups if wanted == role)))
    }


def _policy(issuer: str, audience: str, roles: Mapping[str, list[str]]) -> str:
    """The text of the policy, with tests."""
    tests = [
        "{who: anonymous, request: GET /api/v2/monitor/health, expect: allow}",
        f"{{who: anonymous, request: {_READS}, expect: deny, reason: no_token}}",
        f"{{who: authenticated, request: {_READS}, expect: deny, reason: no_role}}",
    ]
    strongest = {group: role for role, groups in roles.items() for group in groups}
    for group, role in strongest.items():
        who = f"{{groups: [{_text(group)}]}}"
        tests += [f"{{who: {who}, request: {asked}, expect: {answer}}}" for asked, answer in _MAY[role]]
    lines = [
        f"# yaml-language-server: $schema=./{_SCHEMAS['policy']}",
        "version: 1",
        "issuers:",
        "  - name: provider",
        f"    issuer: {_text(issuer)} # exactly what it writes into `iss`",
        f"    audiences: {{inbound: [{_text(audience)}]}} # what it writes into `aud`",
        "    algorithms: [RS256, ES256] # how it signs",
        "    groups: [groups] # the claim with a person's groups",
        "roles: # Airflow's own; yours may follow",
        *(f"  airflow.{role}: {{groups: [{', '.join(map(_text, groups))}]}}" for role, groups in roles.items()),
        "rules:",
        '  - {id: health, plane: inbound, public: true, operations: ["health:read"]}',
        "tests: # they run at every load; what contradicts one does not come into force",
        *(f"  - {test}" for test in tests),
    ]
    return "\n".join(lines) + "\n"


def _settings(airflow: str, audience: str) -> str:
    """The text of the settings."""
    lines = [
        f"# yaml-language-server: $schema=./{_SCHEMAS['settings']}",
        "version: 1",
        f"policy: {_POLICY}",
        'listen: ["127.0.0.1:9190"] # where Envoy asks the gate',
        'admin: {listen: "127.0.0.1:9180"} # /readyz and /metrics',
        'assertion: {issuer: "https://gate.internal", keys: [assertion.pem]} # the key is made at the first start',
        "log: {decisions: decisions.jsonl}",
        "state: state # the last good policy, for a restart",
        "envoy:",
        "  inbound:",
        "    listen: 127.0.0.1:8000 # beyond this machine: 0.0.0.0:8443, with tls: {certificate: …, key: …}",
        f"    upstreams: [{{name: airflow, address: {_text(airflow)}, audience: {_text(audience)}}}]",
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A text in double quotes, which YAML reads as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def _check_settings(policy: str, settings: str) -> None:
    """Load the settings as the server does. Raises ConfigError."""
    from authz import settings as files  # noqa: PLC0415 only this command needs it

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _POLICY).write_text(policy, encoding="utf-8")
        (Path(folder) / _SETTINGS).write_text(settings, encoding="utf-8")
        files.load(Path(folder) / _SETTINGS)


def _refuse_to_overwrite(folder: Path) -> None:
    found = [name for name in (_POLICY, _SETTINGS, *_SCHEMAS.values()) if os.path.lexists(folder / name)]
    if found:
        hint = "name another folder, or move it away"
        raise ConfigError([Problem(str(folder / name), 0, 0, "it is there already", hint) for name in found])


def _write(folder: Path, policy: str, settings: str) -> None:
    from authz.settings import Settings  # noqa: PLC0415 only this command needs it

    option = orjson.OPT_INDENT_2
    texts = {
        _SCHEMAS["policy"]: orjson.dumps(json_schema(), option=option).decode() + "\n",
        _SCHEMAS["settings"]: orjson.dumps(Settings.model_json_schema(), option=option).decode() + "\n",
        _SETTINGS: settings,
        _POLICY: policy,
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:  # a file that came since then is not overwritten either
            file.write(text)
        click.echo(f"wrote {path}")


def _show(folder: Path) -> None:
    """Run `authz lint` and `authz test` on what was written."""
    settings = folder / _SETTINGS
    context = click.get_current_context()
    failed = 0
    for name, command in (("lint", lint), ("test", run_tests)):
        click.echo(f"\n$ authz {name} --settings {settings}")
        try:
            context.invoke(command, settings_path=settings)
        except click.exceptions.Exit as end:
            failed = failed or end.exit_code
    click.echo(f"\nNext: authz envoy --settings {settings} --output envoy.yaml; authz serve --settings {settings}")
    context.exit(failed)
