"""Which keys, witnesses and quorum a signed log is verified with: options of `authz audit`, and what they read.

Law: a key is what the caller gives; only without one it is what lies in the log's own folder, and that is said.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from authz.core.errors import AuditBrokenError, ConfigError, FetchError, Problem

if TYPE_CHECKING:
    from authz.audit.verifying import Older
    from authz.audit.witnessed import Demand
    from authz.core.audit.keys import VerifierKey

_MOST_KEY_BYTES: Final = 64 * 1024
_ASK_HINT: Final = "give the witness's monitoring prefix, and with --witness its key"

key_option = click.option(
    "--key",
    "keys",
    metavar="KEY",
    multiple=True,
    help="The log's verifier key, or a file with it: `authz audit key` prints it. May be given more than once.",
)


def witness_options(command: Any) -> Any:
    """`--witness` and `--quorum`."""
    quorum = click.option(
        "--quorum",
        type=click.IntRange(min=1),
        help="How many of the witnesses must have cosigned the checkpoint. Default: all that are given.",
    )
    witness = click.option(
        "--witness",
        "witnesses",
        metavar="KEY",
        multiple=True,
        help="A witness's verifier key, or a file with some: demand cosignatures. May be given more than once.",
    )
    return witness(quorum(command))


def demanded(keys: tuple["VerifierKey", ...], witnesses: Sequence[str], quorum: int | None) -> "Demand":
    """What `--witness` and `--quorum` demand.

    Raises:
        ConfigError: a key is none, or not that of a witness.
    """
    from authz.audit.witnessed import Demand  # noqa: PLC0415 cryptography costs start-up time that --help need not pay

    found = read_keys(witnesses) if witnesses else ()
    if quorum is not None and quorum > len(found):
        raise click.UsageError(f"--quorum {quorum}: there are {len(found)} keys of witnesses (--witness)")
    demand = Demand(keys=keys, witnesses=found, quorum=len(found) if quorum is None else quorum)
    try:
        for key in keys if found else ():
            demand.trust(key)
    except ValueError as error:
        raise ConfigError([Problem("--witness", 0, 0, str(error), "give the keys that witnesses publish")]) from None
    return demand


def asked(urls: Sequence[str], origin: str, demand: "Demand") -> list["Older"]:
    """What the witnesses with these monitoring prefixes show of the log.

    Raises:
        ConfigError: one cannot be asked, or shows no checkpoint of the log that it cosigned.
    """
    from authz.audit import witnessed  # noqa: PLC0415 see above
    from authz.settings.urls import endpoint, prefix, shown  # noqa: PLC0415 see above

    if urls and not demand.witnesses:
        raise click.UsageError("--ask-witness needs the witness's key: give --witness KEY")
    found = []
    for text in urls:
        try:
            url = endpoint(prefix(text))
        except ValueError as error:
            raise ConfigError([Problem("--ask-witness", 0, 0, str(error), _ASK_HINT)]) from None
        try:
            found.append(witnessed.ask(url, origin, demand))
        except FetchError as error:
            problem = f"the witness cannot be asked: {error.detail}"
            raise ConfigError([Problem("--ask-witness", 0, 0, problem, _ASK_HINT)]) from None
        except (AuditBrokenError, ValueError) as error:
            raise ConfigError([Problem("--ask-witness", 0, 0, f"{shown(url)}: {error}", _ASK_HINT)]) from None
    return found


def own_keys(folder: Path) -> tuple["VerifierKey", ...]:
    """The keys in the log's folder.

    Raises:
        ConfigError: they cannot be read.
    """
    from authz.audit.layout import VERIFIER_KEYS  # noqa: PLC0415 see above

    path = folder / VERIFIER_KEYS
    if not path.exists():
        raise ConfigError([Problem(str(path), 0, 0, "the log's public keys are missing", "give --key KEY")])
    return read_keys((str(path),))


def log_keys(given: Sequence[str]) -> tuple["VerifierKey", ...]:
    """The keys of a log that are given; arguments and errors are those of `read_keys`.

    Raises:
        ConfigError: one is that of a witness.
    """
    from authz.core.audit.keys import SignatureType  # noqa: PLC0415 see above

    found = read_keys(given)
    for key in found:
        if key.type is not SignatureType.ED25519:
            text, hint = f"{key.name}: this is the key of a witness, not of a log", "give it with --witness"
            raise ConfigError([Problem("--key", 0, 0, text, hint)])
    return found


def read_keys(given: Sequence[str]) -> tuple["VerifierKey", ...]:
    """The keys that are given as texts or as files of such texts, a line each.

    Raises:
        ConfigError: one is neither.
    """
    from authz.core.audit.keys import VerifierKey  # noqa: PLC0415 see above
    from authz.system.regular_file import read_regular, why  # noqa: PLC0415 see above

    found: list[VerifierKey] = []
    for text in given:
        try:
            found.append(VerifierKey.parse(text))
            continue
        except AuditBrokenError as error:
            hint = f"give a verifier key, as `authz audit key` prints it, or a file with one; as a key: {error}"
        try:
            lines = read_regular(text, _MOST_KEY_BYTES).decode().split("\n")
            found += [VerifierKey.parse(line) for line in lines if line]
        except OSError as error:
            raise ConfigError([Problem(text, 0, 0, f"the key cannot be read: {why(error)}", hint)]) from None
        except (AuditBrokenError, UnicodeDecodeError):
            raise ConfigError([Problem(text, 0, 0, "a line of the file is no verifier key")]) from None
    if not found:
        raise ConfigError([Problem(given[0], 0, 0, "the file has no verifier key")])
    return tuple(dict.fromkeys(found))


def moment(seconds: int) -> str:
    """A time that a witness has signed; any number below 2^63 may be one."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"


def cosigners(cosigned: Mapping["VerifierKey", int]) -> str:
    """Who cosigned and when, for the end of a sentence; "" for no one."""
    named = ", ".join(f"{key.name} at {moment(time)}" for key, time in cosigned.items())
    return f", cosigned by {named}" if named else ""
