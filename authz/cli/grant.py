"""`authz grant`: asks for temporary access, approves it, ends it, lists it.

Law: over HTTP the gate decides, and the token never is an argument: it comes from a file, $AUTHZ_TOKEN or standard
input, and is sent over TLS or to this machine only. `--local` writes the grants file as an account of this machine.
What other people wrote is printed in one line, and a name that they may have chosen never without the account's.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.grant_gate import GateAnswer, GrantGate
from authz.cli.options import json_option, read_token, token_file_option
from authz.cli.terminal import show
from authz.core.characters import one_line
from authz.core.documents.quantities import duration_text, seconds

_GATE: Final = "http://127.0.0.1:9180"
_LEAST_PAUSE_S: Final = 1.0
_MOST_PAUSE_S: Final = 10.0
_WAITING: Final = "waiting"


def _duration(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _shared(command: Any) -> Any:
    """The options of every command."""
    options: tuple[Callable[[Any], Any], ...] = (
        click.option(
            "--gate",
            metavar="URL",
            default=_GATE,
            show_default=True,
            help="The operators' port of the gate (`admin` in its settings): https, or http on this machine.",
        ),
        token_file_option,
        click.option("--local", is_flag=True, help="Write the grants file that --settings names, without a token."),
        click.option(
            "--settings",
            "settings_path",
            type=click.Path(dir_okay=False, path_type=Path),
            default=Path("authz.yaml"),
            show_default=True,
            help="The settings file, for --local.",
        ),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _ask(
    call: Callable[[GrantGate], GateAnswer], gate: str, token_file: Any, settings_path: Path, *, local: bool
) -> GateAnswer:
    """The answer of the gate, or of the file."""
    return call(_opened(gate, token_file, settings_path, local=local))


def _opened(gate: str, token_file: Any, settings_path: Path, *, local: bool) -> GrantGate:
    if local:
        from authz.cli.local_grants import LocalGrants  # noqa: PLC0415 it reads settings and policy

        return LocalGrants(settings_path)
    from authz.cli.grant_gate import RemoteGrants  # noqa: PLC0415 an HTTP client that --help need not load

    return RemoteGrants(gate, read_token(token_file))


@click.group(short_help="Ask for temporary access, approve it, end it, list it.")
def grant() -> None:
    """Temporary access on request, to what the policy's `grantable` says.

    \b
      authz grant request sales-oncall --for 3h --reason "incident 4711"
      authz grant approve 3f2a…        by another person, who has one of the approvers' roles
      authz grant end 3f2a…            earlier than it ends by itself
      authz grant list                 yours, those that you may approve, what you may ask for

    Exit status: 0 done, 1 refused (or, with --wait, not approved), 2 usage, token, or a gate that does not answer.
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped


@grant.command("request", short_help="Ask for access.")
@click.argument("entry")
@click.option("--for", "duration", required=True, metavar="DURATION", callback=_duration, help="How long: 90m, 3h, 3d.")
@click.option("--reason", required=True, help="Why, in one line, for those who approve.")
@click.option("--wait", is_flag=True, help="Wait until it is approved; otherwise the command ends at once.")
@click.option(
    "--issuer",
    default="",
    help="With --local: the issuer of the account that gets access: its name in the policy, or its `iss`.",
)
@click.option("--subject", default="", help="With --local: the `sub` of the account that gets access.")
@_shared
def ask(
    entry: str,
    duration: str,
    reason: str,
    *,
    issuer: str,
    subject: str,
    gate: str,
    token_file: Any,
    settings_path: Path,
    wait: bool,
    local: bool,
    as_json: bool,
) -> None:
    """Ask for an entry of the policy's `grantable`.

    It is in force as soon as an approver has approved it, or at once where the entry needs no approval. --for counts
    from there. A request that is not approved ends after 7 days.
    """
    if local != bool(issuer and subject):
        raise click.UsageError("--issuer and --subject say who gets access, and belong to --local")
    opened = _opened(gate, token_file, settings_path, local=local)
    answer = opened.request(entry, duration, reason, issuer=issuer, subject=subject)
    if answer.is_ok and wait:
        if not as_json:
            _show(answer, as_json=False)
        answer = _awaited(opened, answer)
    _end(answer, as_json=as_json, state="active" if wait else "")


@grant.command(short_help="Approve a request of another person.")
@click.argument("name", metavar="ID")
@_shared
def approve(name: str, gate: str, token_file: Any, settings_path: Path, *, local: bool, as_json: bool) -> None:
    """Approve a request of another person: its duration counts from now."""
    answer = _ask(lambda opened: opened.act("approve", name), gate, token_file, settings_path, local=local)
    _end(answer, as_json=as_json)


@grant.command(short_help="End a grant, or take back or refuse a request.")
@click.argument("name", metavar="ID")
@_shared
def end(name: str, gate: str, token_file: Any, settings_path: Path, *, local: bool, as_json: bool) -> None:
    """End a grant before its time, or take back or refuse a request: those who asked and those who approve may."""
    answer = _ask(lambda opened: opened.act("end", name), gate, token_file, settings_path, local=local)
    _end(answer, as_json=as_json)


@grant.command("list", short_help="List grants, and what you may ask for.")
@_shared
def list_grants(gate: str, token_file: Any, settings_path: Path, *, local: bool, as_json: bool) -> None:
    """List your grants, those that you may approve, and what you may ask for; with --local all of them."""
    answer = _ask(lambda opened: opened.list(), gate, token_file, settings_path, local=local)
    if as_json or not answer.is_ok:
        _end(answer, as_json=as_json)
    texts = [*map(_line, answer.members["grants"]), *map(_may_ask, answer.members["entries"])]
    show(texts or ["there are no grants that you may see, and nothing that you may ask for"])


def _may_ask(entry: dict[str, Any]) -> str:
    """One entry that the caller may ask for, in one line."""
    needs = f"approved by {', '.join(entry['approvers'])}" if entry["approvers"] else "needs no approval"
    text = f": {entry['description']}" if entry["description"] else ""
    return one_line(f"you may ask for {entry['entry']}, up to {duration_text(entry['longest_seconds'])}, {needs}{text}")


def _awaited(opened: GrantGate, answer: GateAnswer) -> GateAnswer:
    """The answer about the same grant when it waits no more."""
    name, pause = answer.members["id"], _LEAST_PAUSE_S
    while answer.is_ok and answer.members["state"] == _WAITING:
        time.sleep(pause)
        pause = min(2 * pause, _MOST_PAUSE_S)
        listed = opened.list()
        if not listed.is_ok:
            return listed
        found = [one for one in listed.members["grants"] if one["id"] == name]
        if not found:
            return GateAnswer(404, {"error": "unknown", "message": "the request is not there any more", "hint": ""})
        answer = GateAnswer(200, found[0])
    return answer


def _end(answer: GateAnswer, *, as_json: bool, state: str = "") -> None:
    """Print the answer, and end with its exit status; `state` is the one that was waited for."""
    _show(answer, as_json=as_json)
    as_wanted = not state or answer.members.get("state") == state
    click.get_current_context().exit(0 if answer.is_ok and as_wanted else answer.exit_status)


def _show(answer: GateAnswer, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer.members))  # in ASCII: a name may hold what a terminal obeys
    elif answer.is_ok:
        show([_line(answer.members)])
    else:
        hint = answer.members.get("hint")
        text = f"error: {answer.members.get('message')}" + (f" ({hint})" if hint else "")
        click.echo(one_line(text), err=True)


def _line(one: dict[str, Any]) -> str:
    """One grant in one line."""
    when = f"until {one['until']}" if "until" in one else f"since {one['ended_at']}"
    who = _name(one["requester"])
    by = f", approved by {_name(one['approved_by'])}" if "approved_by" in one else ""
    length = duration_text(one["seconds"])
    text = f"{one['id']}  {one['state']} {when}  {one['entry']} for {length}  {who}{by}: {one['reason']}"
    return one_line(text)


def _name(who: dict[str, str]) -> str:
    if "local" in who:
        return f"local {who['local']}"
    name, subject = who["name"], who["subject"]
    return f"{name} (sub {subject})" if name not in {"", subject} else subject
