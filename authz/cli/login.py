"""`authz login` and `authz logout`: a person's own token for the command line."""

import webbrowser
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from authz.cli.options import gate_option, policy_option
from authz.cli.policy_files import PolicyFile
from authz.cli.served import served
from authz.core.characters import one_line
from authz.core.documents.moments import moment_text

if TYPE_CHECKING:
    from authz.login.device_flow import Device

name_option: Callable[[Any], Any] = click.option(
    "--as", "name", metavar="NAME", default="default", show_default=True, help="The login's name, to have several."
)


@click.command(short_help="Log in at the provider, for commands and curl.")
@click.option("--issuer", metavar="URL|NAME", help="The provider: its issuer URL, or a name in the policy.")
@click.option("--client", "client_id", metavar="ID", help="Client id of a public client for programs like this.")
@click.option("--scope", help="Scopes, with spaces between them. Default: openid.")
@click.option("--audience", help="Parameter `audience`, where the provider wants it.")
@click.option("--resource", metavar="URI", help="Parameter `resource` (RFC 8707), where the provider wants it.")
@click.option("--device", is_flag=True, help="Confirm with a browser on another machine (RFC 8628).")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the redirect. Default: a free one.")
@click.option("--browser/--no-browser", default=True, help="Open the page, or only print its address.")
@name_option
@policy_option
@gate_option
def login(
    *,
    issuer: str | None,
    client_id: str | None,
    device: bool,
    port: int,
    browser: bool,
    name: str,
    policy_path: PolicyFile | None,
    settings_path: Path | None,
    **more: str | None,
) -> None:
    """Log in at the OpenID provider with a browser, and keep the tokens for `authz token print`.

    Without options it logs in again, as the last time. The tokens are in the keyring (if the package `keyring` is
    installed and there is one), else in a file of mode 0600 below ~/.local/state/authz; none is printed.
    """
    from authz.login import code_flow, device_flow  # noqa: PLC0415 an HTTP client costs start-up time that --help need not pay
    from authz.login.provider import Provider  # noqa: PLC0415 see above
    from authz.login.store import Login, Store  # noqa: PLC0415 see above
    from authz.login.tokens import Client  # noqa: PLC0415 see above

    store = Store(name)
    with store.alone():  # what is wrong with the place is found before the person logs in
        kept = store.read()
    asked = {key: value for key, value in (("client_id", client_id), *more.items()) if value is not None}
    if issuer is None and policy_path is None and settings_path is None and kept is not None:
        client = replace(kept.client, **asked)
    else:
        if client_id is None:
            raise click.UsageError("give the client id of a public client: --client")
        client = Client(issuer=_issuer(issuer, policy_path, settings_path), **asked)
    provider = Provider(client.issuer)
    if device:
        tokens = device_flow.log_in(provider, client, show=_show)
    else:
        tokens = code_flow.log_in(provider, client, open_page=partial(_open, browser=browser), port=port)
    with store.alone():
        place = store.write(Login(client=client, tokens=tokens))
    who = f" as {one_line(tokens.person)}" if tokens.person else ""
    until = f", until {moment_text(tokens.ends)}" if tokens.ends else ""
    renewed = "; it is renewed by itself" if tokens.refresh else "; then log in again: there is no refresh token"
    click.echo(f"logged in at {client.issuer}{who}{until}{renewed}\nkept in {place}")


@click.command(short_help="Forget the token of `authz login`, and revoke it.")
@name_option
def logout(name: str) -> None:
    """Forget the tokens of `authz login`, and have the provider revoke them (RFC 7009)."""
    from authz.login import session  # noqa: PLC0415 see above
    from authz.login.store import Store  # noqa: PLC0415 see above

    not_revoked = session.end(Store(name))
    if not_revoked:
        click.echo(f"forgotten here; not revoked at the provider: {not_revoked}", err=True)
        click.get_current_context().exit(1)
    click.echo("logged out")


def _issuer(named: str | None, policy: PolicyFile | None, settings: Path | None) -> str:
    """The issuer's URL: as it is given, or that of the policy's issuer of that name, or of its only one."""
    if named is not None and "://" in named:
        return named
    known = {one.name: one.issuer for one in served(policy, settings).policy.issuers.values() if one.jwks_file is None}
    if named is None and len(known) == 1:
        return next(iter(known.values()))
    if named not in known:
        raise click.UsageError(f"--issuer: give one of {', '.join(sorted(known)) or 'the provider by its URL'}")
    return known[named]


def _open(page: str, *, browser: bool) -> None:
    click.echo(f"Log in with a browser on this machine:\n  {page}", err=True)
    if browser:
        webbrowser.open(page)


def _show(device: "Device") -> None:
    click.echo(f"Open this page, compare the code {device.code}, and log in:\n  {device.page}", err=True)
