"""`authz audit`: is the log what was signed, is this record in it, which key signs. The others look into logs.

Law: exit status 0 if it is, 1 if it is not, 2 for a mistake. What cannot be known is printed, never taken for a yes.
Nothing here changes a log.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
import orjson

from authz.cli.audit_query import query
from authz.cli.audit_story import story
from authz.cli.audit_tail import tail
from authz.cli.audit_trust import (
    asked,
    cosigners,
    demanded,
    key_option,
    log_keys,
    moment,
    own_keys,
    witness_options,
)
from authz.cli.options import json_option
from authz.core.characters import one_line
from authz.core.errors import AuditBrokenError, ConfigError, Problem

if TYPE_CHECKING:
    from authz.audit.verifying import Older, Report
    from authz.core.audit.keys import VerifierKey

_MOST_NAMES: Final = 10  # in a note
_CANNOT_KNOW: Final = (
    "cannot know whether the end of the log was cut, or an older copy put in its place: give --since CHECKPOINT, a"
    " checkpoint that was kept elsewhere"
)
_CANNOT_KNOW_SINCE: Final = (
    "cannot know what the log had after {}, when the witnesses had cosigned what is here: its end may have been cut"
    " since. Give --ask-witness URL, or --since CHECKPOINT"
)
_OWN_KEY: Final = (
    "the keys are those in the log's own folder: anyone who can replace the log can replace them. Give --key KEY, from"
    " where the gate's operator publishes it"
)

folder_argument = click.argument(
    "folder", metavar="[DIR]", default=Path(), type=click.Path(file_okay=False, path_type=Path)
)


@click.group(short_help="Which decisions are on record, and is the log what was signed?")
def audit() -> None:
    """The log of decisions: look into it, verify it, prove that a decision is in it.

    `query`, `story` and `tail` read every log. The others are about a signed log: DIR is its folder, which has
    `decisions.jsonl`, `checkpoint` and `tile/`. Default: the current folder.
    """


audit.add_command(query)
audit.add_command(story)
audit.add_command(tail)


@audit.command("verify", short_help="Was anything in the log changed, removed or inserted?")
@folder_argument
@key_option
@click.option(
    "--since",
    "since",
    metavar="CHECKPOINT",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file with a checkpoint of this log that you kept: is the log a continuation of it? May be repeated.",
)
@witness_options
@click.option(
    "--ask-witness",
    "ask",
    metavar="URL",
    multiple=True,
    help="A witness's monitoring prefix: is the log a continuation of what the witness knows? May be repeated.",
)
@json_option
def verify(
    folder: Path,
    *,
    keys: tuple[str, ...],
    since: tuple[Path, ...],
    witnesses: tuple[str, ...],
    quorum: int | None,
    ask: tuple[str, ...],
    as_json: bool,
) -> None:
    """Was anything in the log changed, removed, inserted, or put in another order?

    Reads all files in DIR and compares them with the tree and the signed checkpoint. The first bad record is named by
    file, line and index. Exit status 0: all lines are what was signed; 1: they are not; 2: a mistake.

    Without --key the keys are those in DIR, which prove nothing against those who can write there: a note says so, and
    in JSON `trusted_key` is false.

    With --witness the log must have a checkpoint that these witnesses cosigned, and be a continuation of it. Only the
    witnesses themselves know whether they cosigned more: --ask-witness.

    \b
    authz audit verify /var/log/authz/audit --key keys.txt
    authz audit verify /var/log/authz/audit --key keys.txt --since monday.checkpoint
    authz audit verify /var/log/authz/audit --key keys.txt --witness witnesses.txt --quorum 2
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    from authz.audit import verifying, witnessed  # noqa: PLC0415 cryptography costs start-up time that --help need not pay
    from authz.audit.layout import OPEN_FILE, closed_files, others  # noqa: PLC0415 see above

    _must_be_a_log(folder)
    known = log_keys(keys) if keys else own_keys(folder)
    sizes = sum(file.path.stat().st_size for file in closed_files(folder))
    sizes += (folder / OPEN_FILE).stat().st_size if (folder / OPEN_FILE).exists() else 0
    demand = demanded(known, witnesses, quorum)
    kept, notes = None, list(_not_of_the_log(others(folder)))
    try:
        kept = witnessed.kept(folder, demand)  # first: the log's checkpoint is newer
    except AuditBrokenError as error:
        if demand.quorum:
            _negative(str(error), as_json=as_json, trusted_key=bool(keys))
        notes.append(one_line(f"{error}: it is not used"))
    try:
        older = [*([] if kept is None else [kept]), *(_older(path, known) for path in since)]
        shown = asked(ask, known[0].name, demand)
        older += shown
        with click.progressbar(length=sizes, label="reading", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
            report = verifying.verify(folder, known, since=older, advanced=bar.update)
    except AuditBrokenError as error:
        _negative(str(error), as_json=as_json, trusted_key=bool(keys))
    notes += [*([] if since or ask else [_cannot_know(kept)]), *([] if keys else [_OWN_KEY])]
    if as_json:
        click.echo(orjson.dumps(_as_json(report, kept, shown, notes, trusted_key=bool(keys))).decode())
    else:
        click.echo("\n".join(_lines(report, older, notes)))
    click.get_current_context().exit(1 if report.findings else 0)


def _cannot_know(kept: "Older | None") -> str:
    """The note about what came after the last thing that is known from elsewhere."""
    times = kept.cosigned.values() if kept is not None else ()
    return _CANNOT_KNOW_SINCE.format(moment(min(times))) if times else _CANNOT_KNOW


def _not_of_the_log(names: Sequence[str]) -> Iterator[str]:
    """The note about files that were not read."""
    if names:
        more = f", and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        yield one_line(f"not part of the log: {', '.join(names[:_MOST_NAMES])}{more}")


def _lines(report: "Report", older: Sequence["Older"], notes: Sequence[str]) -> Iterator[str]:
    """The report for a terminal."""
    yield from (f"{click.style('broken', fg='red')}: {finding}" for finding in report.findings)
    head = report.head
    count = "1 record" if report.lines == 1 else f"{report.lines or 0:,} records"
    if report.lines is None:
        yield f"no record is known to be what {head.origin} signed"
    elif report.findings:
        yield f"{count} up to there are what {head.origin} signed"
    else:
        yield f"{click.style('verified', fg='green')}: {count} of {head.origin}, checkpoint of {head.size:,}"
        for one in older:
            yield one_line(f"it continues {one.path}, of {one.head.size:,} records{cosigners(one.cosigned)}")
    if report.first:
        yield f"note: the files of the first {report.first:,} records were removed; only their hashes are there"
    if report.unsigned:
        yield f"note: {report.unsigned:,} after the checkpoint are not signed yet"
    if report.torn:
        yield "note: the last line is not complete: it is being written, or its writer was killed"
    yield from (f"note: {note}" for note in notes)


def _as_json(
    report: "Report", kept: "Older | None", shown: Sequence["Older"], notes: Sequence[str], *, trusted_key: bool
) -> dict[str, Any]:
    """`trusted_key`: the keys were given; false if they are only those in the log's own folder.

    `witnessed` is the size of the witnessed checkpoint, null if there is none; `cosigned` has the time of each
    cosignature of a witness that was given. `asked` has the same of what each witness that was asked shows: what the
    log had after these times is not known.
    """
    return {
        "verified": not report.findings,
        "trusted_key": trusted_key,
        "origin": report.head.origin,
        "size": report.head.size,
        "keys": sorted(map(str, report.signers)),
        "records": report.lines,
        "witnessed": None if kept is None else kept.head.size,
        "cosigned": {} if kept is None else _times(kept),
        "asked": [{"from": str(one.path), "size": one.head.size, "cosigned": _times(one)} for one in shown],
        "removed": report.first,
        "unsigned": report.unsigned,
        "torn": report.torn,
        "findings": [
            {"file": str(one.path), "line": one.line, "index": one.index, "text": one.text} for one in report.findings
        ],
        "notes": list(notes),
    }


def _times(older: "Older") -> dict[str, int]:
    return {str(key): time for key, time in older.cosigned.items()}


@audit.command("prove", short_help="Make a receipt of a decision, for anyone to check.")
@click.argument("decision", metavar="ID")
@folder_argument
@key_option
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the receipt here instead of printing it."
)
def prove(decision: str, folder: Path, keys: tuple[str, ...], output: Path | None) -> None:
    """Make a receipt of the decision with this ID: a proof that it is in the log.

    Anyone checks it with the log's public key alone: `authz audit check-receipt`. Exit status 1: the log has no such
    decision, no checkpoint covers it yet, or it is not what was signed. Without --key the keys are those in DIR.

    \b
    authz audit prove 926a3e91b7e7441cfa435aae /var/log/authz/audit --output receipt
    authz audit check-receipt receipt --key keys.txt
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    from authz.audit import receipts  # noqa: PLC0415 cryptography costs start-up time that --help need not pay

    _must_be_a_log(folder)
    known = log_keys(keys) if keys else own_keys(folder)
    record = receipts.find(folder, decision)
    if record is None:
        _negative(f"{folder} has no decision {decision!r}, or its file was removed")
    try:
        made = receipts.prove(folder, record, known)
    except AuditBrokenError as error:
        _negative(str(error))
    if output is None:
        click.echo(made, nl=False)
    else:
        output.write_bytes(made)


@audit.command("check-receipt", short_help="Does a receipt prove what it says?")
@click.argument("path", metavar="RECEIPT", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--key", "keys", metavar="KEY", multiple=True, required=True, help="As for `verify`; required here.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file with the record's line, as the log has it. Default: the one in the receipt.",
)
@witness_options
@json_option
def check_receipt(
    path: Path,
    *,
    keys: tuple[str, ...],
    record: Path | None,
    witnesses: tuple[str, ...],
    quorum: int | None,
    as_json: bool,
) -> None:
    """Does a receipt prove that a record is in the log of this KEY? Needs no log and no network.

    Prints the record. Exit status 1: it proves nothing, or with --witness its checkpoint is not cosigned by as many.
    """
    from authz.audit import receipts  # noqa: PLC0415 cryptography costs start-up time that --help need not pay
    from authz.core.audit.entry import MOST_LINE_BYTES  # noqa: PLC0415 see above
    from authz.system.regular_file import read_regular  # noqa: PLC0415 see above

    demand = demanded(log_keys(keys), witnesses, quorum)
    data = read_regular(path, receipts.MOST_BYTES)
    line = None if record is None else read_regular(record, MOST_LINE_BYTES + 1).removesuffix(b"\n")
    try:
        proved, entry = receipts.check(data, demand, line)
    except (AuditBrokenError, ValueError) as error:
        _negative(f"{path}: {error}", as_json=as_json)
    head, cosigned = proved.head.checkpoint, proved.head.cosigned
    if as_json:
        found = {
            "verified": True,
            "origin": head.origin,
            "size": head.size,
            "index": proved.index,
            "cosigned": {str(key): time for key, time in cosigned.items()},
            "entry": entry.decode(errors="replace"),
        }
        click.echo(orjson.dumps(found).decode())
    else:
        text = f"record {proved.index} of {head.origin}, in its checkpoint of {head.size:,}{cosigners(cosigned)}:"
        click.echo(one_line(text), err=True)
        click.echo(one_line(entry.decode(errors="replace")))


@audit.command("checkpoint", short_help="Print the current checkpoint: keep it elsewhere.")
@folder_argument
def checkpoint(folder: Path) -> None:
    """Print the current checkpoint, a signed note of the log's size and root.

    Keep it where those who can change the log cannot change it: `authz audit verify --since` then shows whether the
    log was cut or replaced after it.
    """
    from authz.audit.layout import CHECKPOINT  # noqa: PLC0415 cryptography costs start-up time that --help need not pay
    from authz.audit.signing import read_signed  # noqa: PLC0415 see above
    from authz.core.audit.note import MOST_BYTES  # noqa: PLC0415 see above
    from authz.system.regular_file import read_regular  # noqa: PLC0415 see above

    _must_be_a_log(folder)
    data = read_regular(folder / CHECKPOINT, MOST_BYTES)
    try:
        read_signed(data, own_keys(folder))
    except AuditBrokenError as error:
        _negative(f"{folder / CHECKPOINT}: {error}")
    click.echo(data, nl=False)


@audit.command("key", short_help="Print the public keys that verify the log: publish them.")
@folder_argument
def key(folder: Path) -> None:
    """Print the log's verifier keys, newest first, a line each: name, key id, public key (c2sp.org/signed-note).

    Publish them where those who can change the log cannot change them.
    """
    _must_be_a_log(folder)
    for one in own_keys(folder):
        click.echo(str(one))


def _must_be_a_log(folder: Path) -> None:
    """Raises ConfigError if the folder is not that of a log."""
    from authz.audit.layout import is_a_log  # noqa: PLC0415 see above

    if not folder.is_dir():
        raise ConfigError([Problem(str(folder), 0, 0, "there is no such folder", "name the folder of the log")])
    if not is_a_log(folder):
        hint = "name the folder that has `decisions.jsonl`, `checkpoint` and `tile`"
        raise ConfigError([Problem(str(folder), 0, 0, "there is no log in this folder", hint)])


def _older(path: Path, keys: Sequence["VerifierKey"]) -> "Older":
    """The checkpoint in a file.

    Raises:
        ConfigError: it cannot be read, or none of the keys has signed it.
    """
    from authz.audit.signing import read_signed  # noqa: PLC0415 see above
    from authz.audit.verifying import Older  # noqa: PLC0415 see above
    from authz.core.audit.note import MOST_BYTES  # noqa: PLC0415 see above
    from authz.system.regular_file import read_regular, why  # noqa: PLC0415 see above

    try:
        return Older(path=path, head=read_signed(read_regular(path, MOST_BYTES), keys)[0])
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, f"the checkpoint cannot be read: {why(error)}")]) from None
    except AuditBrokenError as error:
        hint = "give a checkpoint that `authz audit checkpoint` printed, and with --key the key of that time"
        raise ConfigError([Problem(str(path), 0, 0, str(error), hint)]) from None


def _negative(text: str, *, as_json: bool = False, **more: bool) -> NoReturn:
    """Print why the answer is no, and `more` of it in JSON, and exit with status 1."""
    if as_json:
        click.echo(orjson.dumps({"verified": False, **more, "findings": [{"text": text}]}).decode())
    else:
        click.echo(f"{click.style('broken', fg='red')}: {one_line(text)}", err=True)
    click.get_current_context().exit(1)
